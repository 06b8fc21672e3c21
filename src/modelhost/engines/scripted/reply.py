"""Requests to the scripted engine, and what it replies: the rules of a script, and commands in the prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

from modelhost.engines.options import check_options
from modelhost.engines.scripted.engine import NEVER, REPLY_OPTIONS, checked_calls
from modelhost.engines.worker.asgi import ErrorResponse, error_body, invalid
from modelhost.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A chat or completion request. ``prompt_tokens`` counts words."""

    kind: str
    model: str
    message: str
    prompt_tokens: int
    may_call: bool
    tool_turns: int
    """How often tools have answered since the last message of the user."""
    most_tokens: int | None
    stops: tuple[str, ...]
    n: int
    stream: bool
    include_usage: bool
    logprobs: bool


def read_generation(kind: str, body: Mapping[str, Any], *, model: str, context_length: int) -> Generation:
    """Return the request in ``body``; raises :class:`ErrorResponse` if it is malformed or too long."""
    if kind == "chat":
        message, words, tool_turns = _read_messages(body.get("messages"))
    else:
        message, tool_turns = _read_prompt(body.get("prompt")), 0
        words = len(message.split())
    if words >= context_length:
        text = f"request ({words} tokens) exceeds the available context size ({context_length} tokens)"
        details = {"n_prompt_tokens": words, "n_ctx": context_length}
        raise ErrorResponse(400, error_body(400, "exceed_context_size_error", text, **details))
    stop = body.get("stop") or ()
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    return Generation(
        kind=kind,
        model=str(body.get("model") or model),
        message=message,
        prompt_tokens=words,
        may_call=bool(body.get("tools")) and body.get("tool_choice") != "none",
        tool_turns=tool_turns,
        most_tokens=most if isinstance(most, int) else None,
        stops=(stop,) if isinstance(stop, str) else tuple(stop),
        n=int(body.get("n") or 1),
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        logprobs=bool(body.get("logprobs")),
    )


def _read_messages(messages: Any) -> tuple[str, int, int]:
    """Return the last message of the user, the words of all, and how often tools have answered since."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages) or not messages:
        raise invalid("'messages' has to be a list of objects")
    texts = [_text_of(message.get("content")) for message in messages]
    users = [text for message, text in zip(messages, texts, strict=True) if message.get("role") == "user"]
    words = sum(len(text.split()) for text in texts)
    roles = [message.get("role") for message in messages]
    since = roles[len(roles) - roles[::-1].index("user") :] if users else roles
    # The results of one turn stand together.
    tool_turns = sum(role == "tool" and before != "tool" for before, role in zip([None, *since], since, strict=False))
    return users[-1] if users else "", words, tool_turns


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def text_of_messages(messages: Any) -> str:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise invalid("'messages' has to be a list of objects")
    return " ".join(_text_of(message.get("content")) for message in messages)


def _read_prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        return _read_prompt(prompt[0])
    if not isinstance(prompt, str):
        raise invalid("'prompt' has to be text; the scripted engine answers one prompt per request")
    return prompt


def read_texts(body: Mapping[str, Any], name: str) -> list[str]:
    value = body.get(name)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise invalid(f"'{name}' has to be text, or a list of texts")
    return texts


_WORD = re.compile(r"\s*\S+|\s+$")
_COMMAND = re.compile(r"\s*/(\w+)(?:[ \t]+(\S+))?")
TURN = "{turn}"  # in the arguments of a call: the number of the turn
_NUMBERS = {
    "turns": ("tool_turns", int),
    "tokens": ("tokens", int),
    "slow": ("tokens_per_second", float),
    "batch": ("events_per_write", int),
    "delay": ("first_token_delay", float),
    "error": ("error_status", int),
    "crash": ("crash_after_tokens", int),
    "hang": ("hang_after_tokens", int),
    "malformed": ("malformed_after_tokens", int),
}
_RENAMED = {"reply": "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call; ``arguments`` is the text that the client gets, which need not be JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: its tokens, its speed and its faults."""

    reasoning: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    finish_reason: str = "stop"
    tokens_per_second: float = 0.0
    events_per_write: int = 16
    first_token_delay: float = 0.0
    crash_after_tokens: int = NEVER
    hang_after_tokens: int = NEVER
    malformed_after_tokens: int = NEVER
    error_status: int = 0
    error_body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of the script: changes of the reply to messages that contain ``match``."""

    match: str
    changes: Mapping[str, Any]

    def fits(self, message: str) -> bool:
        if self.match.startswith("re:"):
            return re.search(self.match[3:], message) is not None
        return self.match in message


def rules_of(entries: Any) -> tuple[Rule, ...]:
    """Return the rules of a script file's content.

    Raises:
        ConfigError: it is not a list of ``{match, reply, ...}``, or it uses an option that replies do not have.
    """
    if not isinstance(entries, list):
        raise ConfigError("a script is a list of {match: ..., reply: ...}", param="script")
    return tuple(_rule(entry) for entry in entries)


def _rule(entry: Any) -> Rule:
    if not isinstance(entry, dict) or not isinstance(entry.get("match"), str):
        raise ConfigError(f"an entry of a script is {{match: text, reply: ...}}, not {entry!r}", param="script")
    given = {_RENAMED.get(str(name), str(name)): value for name, value in entry.items() if name != "match"}
    checked = check_options("scripted's script", given, REPLY_OPTIONS)
    changes = {name: checked[name] for name in given}
    if "tool_calls" in changes:
        changes["tool_calls"] = checked_calls(changes["tool_calls"])
    return Rule(match=entry["match"], changes=changes)


def decide(
    options: Mapping[str, Any], rules: Sequence[Rule], message: str, *, may_call: bool, tool_turns: int = 0
) -> Reply:
    """Return the reply to ``message``, the last one of the user.

    Args:
        may_call: the request has tools and allows calls.
        tool_turns: how often tools have answered since.
    """
    values = {name: options[name] for name in REPLY_OPTIONS}
    for rule in rules:
        if rule.fits(message):
            values.update(rule.changes)
            break
    values.update(commands_of(message))
    calls, turns = values.pop("tool_calls") or (), values.pop("tool_turns")
    calls = tuple(_call_of(call, tool_turns + 1) for call in calls) if may_call and tool_turns < turns else ()
    words, count = split_words(values.pop("text")), values.pop("tokens")
    if count > 0 and words:
        words = tuple(_spaced(islice(cycle(words), count)))
    reasoning = split_words(values.pop("reasoning"))
    if calls:
        return Reply(reasoning=reasoning, calls=calls, finish_reason="tool_calls", **values)
    return Reply(reasoning=reasoning, content=words, **values)


def _call_of(call: Mapping[str, str], turn: int) -> Call:
    return Call(name=call["name"], arguments=call["arguments"].replace(TURN, str(turn)))


def commands_of(message: str) -> dict[str, Any]:
    """Return the options that are set by commands at the beginning of ``message``."""
    found: dict[str, Any] = {}
    position = 0
    while command := _COMMAND.match(message, position):
        name, argument = command[1], command[2]
        if name == "echo":
            return found | {"text": message[command.end(1) :].strip(), "tokens": 0}
        if name == "call" and argument:
            return found | {"tool_calls": [{"name": argument, "arguments": message[command.end() :].strip() or "{}"}]}
        if name not in _NUMBERS or argument is None:
            break
        option, kind = _NUMBERS[name]
        try:
            found[option] = kind(argument)
        except ValueError:
            break
        position = command.end()
    return found


def limited(reply: Reply, *, most_tokens: int | None, stops: Sequence[str]) -> Reply:
    """Return ``reply`` cut at the first of ``stops`` in its text and at ``most_tokens``."""
    if stops and reply.content:
        text = "".join(reply.content)
        ends = [found for stop in stops if stop and (found := text.find(stop)) >= 0]
        if ends:
            reply = replace(reply, content=split_words(text[: min(ends)]))
    if most_tokens is None or most_tokens < 0 or most_tokens >= len(reply.reasoning) + len(reply.content):
        return reply
    if reply.calls:
        return reply
    reasoning = reply.reasoning[:most_tokens]
    content = reply.content[: most_tokens - len(reasoning)]
    return replace(reply, reasoning=reasoning, content=content, finish_reason="length")


def split_words(text: str) -> tuple[str, ...]:
    """Return the tokens of ``text``: its words, each with the white space before it."""
    return tuple(_WORD.findall(text))


def _spaced(words: Iterable[str]) -> Iterable[str]:
    """Put a space where the text begins anew."""
    for index, word in enumerate(words):
        yield word if index == 0 or word[:1].isspace() else f" {word}"

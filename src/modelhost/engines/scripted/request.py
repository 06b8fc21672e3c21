"""Requests to the scripted engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelhost.engines.worker.asgi import ErrorResponse, error_body, invalid


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
    """Return the text of all ``messages``."""
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
    """Return the text or texts of the field ``name``."""
    value = body.get(name)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise invalid(f"'{name}' has to be text, or a list of texts")
    return texts

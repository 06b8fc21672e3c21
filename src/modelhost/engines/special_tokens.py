"""The special tokens of a model: markers of the parts of an answer, and control tokens in contents of messages.

In an answer, ``<think>`` is the marker of DeepSeek R1 and Qwen3. The others are Cohere's: in the templates of Command
R7B and Command A a turn is ``<|START_THINKING|>...<|END_THINKING|>`` and then an action or
``<|START_RESPONSE|>...<|END_RESPONSE|>``; later models have ``<|START_TEXT|>...<|END_TEXT|>`` instead.

In what users and tools write, control tokens are text and must not begin or end a turn, but a tokenizer parses
``<|im_end|>`` as the end of a turn anywhere in a prompt. So a mark is inserted after the first character of each such
name in a request: a reader still sees the name, the tokenizer does not. Messages of the assistant are not changed,
since control tokens in a model's output are meaningful.

For engines that render and tokenize themselves, the host inserts ``ZERO_WIDTH_SPACE``. The Python workers insert their
own mark and remove it when they tokenize (:mod:`modelhost.engines.worker.text`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import pairwise
from typing import Any, Final

from modelhost.exchange.media_kinds import AUDIO, IMAGE

THOUGHTS: Final[Mapping[str, str]] = {"<think>": "</think>", "<|START_THINKING|>": "<|END_THINKING|>"}
"""The markers at the beginning and the end of reasoning."""
FRAMES: Final[Mapping[str, str]] = {"<|START_RESPONSE|>": "<|END_RESPONSE|>", "<|START_TEXT|>": "<|END_TEXT|>"}
"""The markers around the text of an answer."""
ANSWER_MARKS: Final = (
    *("<tool_call>", "</tool_call>"),
    *(mark for pairs in (THOUGHTS, FRAMES) for pair in pairs.items() for mark in pair),
)
"""All of these markers, and those of the most common form of calls."""
FRAME_ENDS: Final = tuple(FRAMES.values())
_LAST: Final = re.compile(rf"\s*(?:{'|'.join(map(re.escape, FRAME_ENDS))})\s*$")


def unframed(text: str) -> str:
    """Return ``text`` without the end of a frame at its end."""
    return _LAST.sub("", text)


ZERO_WIDTH_SPACE: Final = "\u200b"
ASSISTANT: Final = "assistant"
BESIDE_MESSAGES: Final = ("tools", "documents", "chat_template_kwargs", "reasoning_effort")
"""Fields of a chat request, apart from its messages, that a template may include in the prompt."""
FROM_SERVER: Final = "from_server"
"""A field of messages that an MCP server wrote, in any role. It is not sent to engines."""
TEXTS: Final = frozenset({"text", "refusal"})
"""Parts of a message that are text, in a field with the name of the part."""
MEDIA: Final = frozenset({IMAGE, AUDIO})
"""Parts of a message that are not text."""


def meaningful_names(tokens: Mapping[str, bool], template: str | None) -> tuple[str, ...]:
    """Return the names among ``tokens`` that could begin or end something in a prompt made by ``template``.

    ``tokens`` has the tokens that a tokenizer finds in a text before all others, and whether each is a control token.
    Control tokens are included. Of the others, such as ``<table>`` and runs of blanks, those that the template writes
    are included, except for the markers of reasoning and calls, which begin no turn and may be part of a legitimate
    prompt.
    """
    written = template or ""
    return tuple(
        name
        for name, is_control in tokens.items()
        if _is_name(name) and (is_control or (name in written and name not in ANSWER_MARKS and not name.isalnum()))
    )


def _is_name(text: str) -> bool:
    return len(text) > 1 and not text.replace("▁", " ").isspace()


class ControlTokens:
    """The control tokens of one model. Each text of a request is searched once, and copied only if it has any."""

    def __init__(self, names: Iterable[str], *, mark: str = ZERO_WIDTH_SPACE) -> None:
        """Take the names, at least one.

        Upper and lower case are not distinguished, since a template may convert a text to lower case.
        """
        apart = _by_first({name.lower() for name in names})
        self._firsts = tuple({case for first in apart for case in (first, first.upper())})
        # The other characters are a lookahead, since names may begin within others. One pattern for each first
        # character: that is the fastest search.
        self._beginnings = [
            re.compile(f"{re.escape(first)}(?={_any_of(rests)})", re.IGNORECASE) for first, rests in apart.items()
        ]
        self._mark = mark

    def neutralised(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the chat request ``body`` with a mark in each name, or ``None`` if it holds no name.

        ``body`` is not changed. The same text always has the same result, so that an engine finds its cache of a
        conversation again.
        """
        changed: dict[str, Any] = {"messages": _unless_same(body["messages"], map(self._message, body["messages"]))}
        changed |= {name: self._value(body[name]) for name in BESIDE_MESSAGES if name in body}
        return None if all(changed[name] is body[name] for name in changed) else {**body, **changed}

    def _message(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        if message["role"] == ASSISTANT and FROM_SERVER not in message:
            return message
        content = message.get("content")
        if not isinstance(content, list):
            return self._fields(message)
        rest = {name: value for name, value in message.items() if name != "content"}
        changed_rest, changed = self._fields(rest), self._parts(content)
        return message if changed_rest is rest and changed is content else {**changed_rest, "content": changed}

    def _parts(self, parts: list[dict[str, Any]]) -> list[Any]:
        """Return ``parts``, whose texts a template may concatenate."""
        texts = [part[part["type"]] if part["type"] in TEXTS else "" for part in parts]
        changed = (
            part if part["type"] in MEDIA else self._fields(part if text is old else {**part, part["type"]: text})
            for part, old, text in zip(parts, texts, self._texts(texts), strict=True)
        )
        return _unless_same(parts, changed)

    def _texts(self, texts: Sequence[str]) -> list[str]:
        """Return ``texts`` with marks also in names that begin in one of them and end in another."""
        whole = "".join(texts)
        ends = sorted(found.end() for pattern in self._beginnings for found in pattern.finditer(whole))
        marked, start = [], 0
        for text in texts:
            here = [end - start for end in ends if start < end <= start + len(text)]
            pieces = [text[begin:end] for begin, end in pairwise([0, *here, len(text)])]
            marked.append(self._mark.join(pieces) if here else text)
            start += len(text)
        return marked

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return self._fields(value)
        return _unless_same(value, map(self._value, value)) if isinstance(value, list) else value

    def _fields(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        changed = {self._text(name): self._value(value) for name, value in values.items()}
        return values if all(changed.get(name) is value for name, value in values.items()) else changed

    def _text(self, text: str) -> str:
        for first in self._firsts:
            if first in text:
                return self._texts([text])[0]
        return text


def without_server_marks(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chat request ``body`` without ``FROM_SERVER`` in its messages."""
    messages = [
        {name: value for name, value in message.items() if name != FROM_SERVER} if FROM_SERVER in message else message
        for message in body["messages"]
    ]
    return {**body, "messages": messages}


def _unless_same(values: list[Any], changed: Iterable[Any]) -> list[Any]:
    """Return ``values`` itself if every value in ``changed`` is the same object."""
    listed = list(changed)
    return values if all(one is other for one, other in zip(values, listed, strict=True)) else listed


def _any_of(names: Set[str]) -> str:
    """Return a pattern for all of ``names``, in which common prefixes are shared."""
    if "" in names:
        return ""  # the longer ones begin with a name
    ways = [re.escape(first) + _any_of(rests) for first, rests in _by_first(names).items()]
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _by_first(names: Set[str]) -> dict[str, set[str]]:
    """Return the rest of each of ``names`` by its first character."""
    rests: dict[str, set[str]] = {}
    for name in sorted(names):
        rests.setdefault(name[0], set()).add(name[1:])
    return rests

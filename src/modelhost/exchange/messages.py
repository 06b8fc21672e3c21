"""The messages of a conversation, read from and written to OpenAI's JSON.

Unknown fields are kept in ``extra``: a message that is read and written again has the same fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from modelhost.exchange.nothing import NOTHING

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]

SYSTEM_ROLES: Final = frozenset({"system", "developer"})


class TextPart(Struct, frozen=True):
    """Text in a message of several parts."""

    text: str
    extra: Mapping[str, Any] = NOTHING


class RefusalPart(Struct, frozen=True):
    """Text of an earlier answer in which the model refused."""

    refusal: str
    extra: Mapping[str, Any] = NOTHING


class MediaPart(Struct, frozen=True):
    """Media, for models that accept it."""

    kind: Literal["image_url", "input_audio", "file"]
    extra: Mapping[str, Any] = NOTHING
    """All other fields, as given."""
    place: str | None = None
    """Its path in the request, where that is not the one of a part of a message in OpenAI's API."""


class LinkedText(Struct, frozen=True):
    """The text of a document at an address; the host fetches it before an engine gets the message."""

    url: str
    place: str | None = None
    """As that of media."""


Part = TextPart | RefusalPart | MediaPart | LinkedText


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call in a message of the model."""

    name: str
    arguments: str | Mapping[str, Any] = "{}"
    """JSON text, or the object itself."""
    input: str | None = None
    """The input of a custom tool; ``None``: the call is of a function, with ``arguments``."""
    id: str | None = None
    extra: Mapping[str, Any] = NOTHING
    """Unknown fields of the call, and those of its ``function`` or ``custom`` below that key."""


class Message(Struct, frozen=True, kw_only=True):
    """One message."""

    role: Role
    content: str | tuple[Part, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    extra: Mapping[str, Any] = NOTHING
    """All other fields, and a content that was given as ``null``."""

    @property
    def text(self) -> str:
        """Its text, without media."""
        if isinstance(self.content, str):
            return self.content
        return "".join(map(_text_of, self.content or ()))

    @property
    def media(self) -> tuple[MediaPart, ...]:
        return tuple(part for part in _parts(self.content) if isinstance(part, MediaPart))


def has_parts(messages: Iterable[Message]) -> bool:
    """Whether any content has parts, as everything but text does: without them, a request has no media."""
    for message in messages:  # noqa: SIM110 (a generator would cost each request more than the loop)
        if message.content.__class__ is tuple:
            return True
    return False


def _parts(content: str | tuple[Part, ...] | None) -> tuple[Part, ...]:
    return content if isinstance(content, tuple) else ()


def _text_of(part: Part) -> str:
    if isinstance(part, TextPart):
        return part.text
    return part.refusal if isinstance(part, RefusalPart) else ""


# Reading.


def message_of(given: Mapping[str, Any]) -> Message:
    """Return the message in ``given``, whose types are checked."""
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in given.items():
        if value is None and name != "content":
            continue  # like a missing field; for content, null means that there is none
        if name not in _FIELDS or value is None:
            extra[name] = value
        elif name == "tool_calls":
            known[name] = tuple(map(_call_of, value))
        elif name == "content" and not isinstance(value, str):
            known[name] = tuple(map(part_of, value))
        else:
            known[name] = value
    return Message(**known, extra=extra or NOTHING)


def messages_of(given: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    return tuple(map(message_of, given))


def part_of(given: Mapping[str, Any]) -> Part:
    """Return the part of a message in ``given``, whose types are checked."""
    kind = given["type"]
    if kind == "text":
        return TextPart(given["text"], _rest(given, "type", "text"))
    if kind == "refusal":
        return RefusalPart(given["refusal"], _rest(given, "type", "refusal"))
    return MediaPart(kind, _rest(given, "type"))


def _call_of(given: Mapping[str, Any]) -> ToolCall:
    if given.get("type") == "custom":
        return _custom_call_of(given)
    function: Mapping[str, Any] = given["function"]
    extra = dict(_rest(given, "id", "function"))
    if within := _rest(function, "name", "arguments"):
        extra["function"] = within
    return ToolCall(
        name=function["name"], arguments=function.get("arguments", "{}"), id=given.get("id"), extra=extra or NOTHING
    )


def _custom_call_of(given: Mapping[str, Any]) -> ToolCall:
    custom: Mapping[str, Any] = given["custom"]
    extra = dict(_rest(given, "id", "type", "custom"))
    if within := _rest(custom, "name", "input"):
        extra["custom"] = within
    return ToolCall(name=custom["name"], input=custom["input"], id=given.get("id"), extra=extra or NOTHING)


def _rest(given: Mapping[str, Any], *known: str) -> Mapping[str, Any]:
    return {name: value for name, value in given.items() if name not in known} or NOTHING


_FIELDS: Final = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})


# Writing.


def message_json(message: Message) -> dict[str, Any]:
    """Return ``message`` as JSON of OpenAI's API."""
    written: dict[str, Any] = {"role": message.role}
    if message.content is not None:
        content = message.content
        written["content"] = content if isinstance(content, str) else [part_json(part) for part in content]
    if message.name is not None:
        written["name"] = message.name
    if message.tool_calls is not None:
        written["tool_calls"] = [call_json(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        written["tool_call_id"] = message.tool_call_id
    written.update(message.extra)
    return written


def part_json(part: Part) -> dict[str, Any]:
    """Return ``part`` as JSON of OpenAI's API."""
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text, **part.extra}
    if isinstance(part, RefusalPart):
        return {"type": "refusal", "refusal": part.refusal, **part.extra}
    if isinstance(part, LinkedText):
        return {"type": "file", "file": {"file_url": part.url}}
    return {"type": part.kind, **part.extra}


def call_json(call: ToolCall) -> dict[str, Any]:
    """Return ``call`` as JSON of OpenAI's API."""
    extra = dict(call.extra)
    known = {} if call.id is None else {"id": call.id}
    if call.input is not None:
        custom = {"name": call.name, "input": call.input, **extra.pop("custom", {})}
        return {**known, "type": "custom", **extra, "custom": custom}
    function = {"name": call.name, "arguments": call.arguments, **extra.pop("function", {})}
    return {**known, "type": "function", **extra, "function": function}

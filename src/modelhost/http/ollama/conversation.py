"""The messages of a request of Ollama's API as messages of this host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from modelhost import json_text
from modelhost.exchange.chunks import REASONING
from modelhost.exchange.media_kinds import IMAGE
from modelhost.exchange.messages import MediaPart, Message, Part, TextPart, ToolCall
from modelhost.exchange.nothing import NOTHING
from modelhost.http.ollama import bodies

MEDIA_TYPES: Final = {"/9j/": "jpeg", "R0lGOD": "gif", "Qk": "bmp", "UklGR": "webp"}
"""The type of an image by the first characters of its base64; all others are taken for PNG."""
DATA_URL: Final = "data:"


def messages_of(given: Sequence[bodies.Message]) -> tuple[Message, ...]:
    """Return the messages of a conversation.

    Calls and their results need not have ids: a result belongs to the first call of its tool that has none yet, or to
    the first call of all.
    """
    calls = _Calls()
    return tuple(_message(each, calls, f"messages[{place}].") for place, each in enumerate(given))


def user_message(text: str, images: Sequence[str] | None) -> Message:
    """Return a message of the user."""
    return Message(role="user", content=_content(text, images, ""))


class _Calls:
    """The calls of the conversation so far."""

    def __init__(self) -> None:
        self._count = 0
        self._open: dict[str, str] = {}
        """The names of the calls without a result, by their ids."""

    def add(self, call: bodies.ToolCall) -> ToolCall:
        self._count += 1
        call_id = call.id or f"call_{self._count}"
        self._open[call_id] = call.function.name
        arguments = json_text.encode(call.function.arguments or {}).decode()
        return ToolCall(id=call_id, name=call.function.name, arguments=arguments)

    def answered(self, call_id: str | None, name: str | None) -> tuple[str | None, str | None]:
        """Return the id and the name of the call that a result is of."""
        if not call_id:
            ids = [each for each, called in self._open.items() if called == name] or list(self._open)
            call_id = ids[0] if ids else None
        known = self._open.pop(call_id, None) if call_id is not None else None
        return call_id, name or known


def _message(given: bodies.Message, calls: _Calls, at: str) -> Message:
    content = _content(given.content or "", given.images, at)
    if given.role == "tool":
        call_id, name = calls.answered(given.tool_call_id, given.tool_name)
        return Message(role="tool", content=content, tool_call_id=call_id, name=name)
    made = tuple(map(calls.add, given.tool_calls or ())) or None
    return Message(
        role=given.role,
        content=content or (None if made else ""),
        tool_calls=made,
        extra={REASONING: given.thinking} if given.thinking and given.role == "assistant" else NOTHING,
    )


def _content(text: str, images: Sequence[str] | None, at: str) -> str | tuple[Part, ...]:
    """Return a content: images precede the text, as in Ollama. ``at`` is what precedes ``images`` in their paths."""
    if not images:
        return text
    shown = (_image(data, f"{at}images[{place}]") for place, data in enumerate(images))
    return (*shown, *((TextPart(text),) if text else ()))


def _image(data: str, place: str) -> MediaPart:
    if data.startswith(DATA_URL):
        return MediaPart(IMAGE, {IMAGE: {"url": data}}, place)
    kind = next((kind for beginning, kind in MEDIA_TYPES.items() if data.startswith(beginning)), "png")
    return MediaPart(IMAGE, {IMAGE: {"url": f"data:image/{kind};base64,{data}"}}, place)

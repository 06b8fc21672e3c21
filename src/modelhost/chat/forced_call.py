"""A tool call that has to be made, for an engine that cannot force one: the model writes its JSON as its text.

The engine asks its model for JSON of the form ``{"name": ..., "arguments": {...}}``, in this order, and
:class:`ForcedCall` turns that text, as it comes, into the incremental deltas of one tool call.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import orjson
from msgspec.structs import replace

from modelhost.chat.shape import VIOLATED
from modelhost.exchange.events import Begin, Event, Finish, FinishDetails, OfChoice, Piece, Text, ToolCallPiece

TYPE: Final = {"type": "function"}
NO_CALL: Final = FinishDetails(
    kind=VIOLATED, message="the model has made no call, which tool_choice demands: no schema of a tool held it to one"
)
_OPENING = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\S)')


class ForcedCall:
    """Rewrites the pieces of one choice. What does not become a call, because the answer is cut, is left away.

    An answer that ends by itself without a call says so.
    """

    def __init__(self) -> None:
        self._text = ""
        self._arguments_at: int | None = None
        self._sent = 0

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` with a part of the call in place of the text."""
        rewritten: list[Event] = []
        for event in piece:
            if isinstance(event, Text):
                self._text += event.text
                part = self._part(event, is_last=any(isinstance(other, Finish) for other in piece))
                rewritten.append(part or Begin(envelope=event.envelope, choice=event.choice, role=None))
            elif isinstance(event, Finish):
                if not any(isinstance(other, Text) for other in piece) and (rest := self._part(event, is_last=True)):
                    rewritten.append(rest)
                rewritten.append(self._ended(event))
            else:
                rewritten.append(event)
        return tuple(rewritten)

    def _ended(self, event: Finish) -> Finish:
        if event.reason != "stop":
            return event
        if self._arguments_at is not None:
            return replace(event, reason="tool_calls")
        return event if event.details is not None else replace(event, details=NO_CALL)

    def _part(self, of: OfChoice, *, is_last: bool) -> ToolCallPiece | None:
        """Return what is new of the call, as one piece in the place of the event ``of``."""
        named: dict[str, Any] = {}
        if self._arguments_at is None:
            opening = _OPENING.match(self._text)
            if opening is None:
                return None
            self._arguments_at = opening.end()
            named = {"id": f"call_{secrets.token_hex(12)}", "name": orjson.loads(opening[1]), "call_extra": TYPE}
        arguments = self._text[self._arguments_at :]
        ready = arguments if is_last and not self._is_whole() else _without_outer_brace(arguments)
        new = ready[self._sent :]
        if not new and not named:
            return None
        self._sent += len(new)
        extra = of.extra if isinstance(of, Text) else None
        return ToolCallPiece(envelope=of.envelope, choice=of.choice, index=0, arguments=new, extra=extra, **named)

    def _is_whole(self) -> bool:
        try:
            orjson.loads(self._text)
        except orjson.JSONDecodeError:
            return False
        return True


def _without_outer_brace(text: str) -> str:
    """Return ``text`` without what may turn out to be the end of the object around the arguments."""
    return text.rstrip().removesuffix("}").rstrip()

"""Calls of custom tools, from the answers of engines that support functions only: pieces in, pieces out.

:class:`CustomCallRewriter` makes them from calls whose arguments are ``{"input": "..."}``, and streams the text.
:class:`RawInputRewriter` makes one from text that is the input itself, after an opening.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from msgspec.structs import replace

from modelhost import json_text, patterns
from modelhost.chat.structured_output import VIOLATED
from modelhost.chat.tools.custom_tools import INPUT
from modelhost.engines.base import LARK_SYNTAX
from modelhost.errors import InvalidRequest
from modelhost.exchange.events import Begin, CustomCallPiece, Event, Finish, FinishDetails, Piece, Text, ToolCallPiece
from modelhost.exchange.requests import InputFormat

TYPE: Final = {"type": "custom"}
_OPENING: Final = re.compile(rf'\s*\{{\s*"{INPUT}"\s*:\s*"')
_BEGINNING: Final = f'{{"{INPUT}":"'
"""The opening without blanks."""
_READY: Final = re.compile(
    r'(?:[^"\\\ud800-\udfff]|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*"
)
"""The inside of a JSON string, as far as it can be decoded whatever follows."""
_INSIDE: Final = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)
_CUT_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")


class InputReader:
    """Decodes the input from arguments that arrive in pieces."""

    def __init__(self) -> None:
        self._arguments = ""
        self._at: int | None = None
        self._is_sound = True
        self.text = ""
        """The input decoded so far."""

    def feed(self, arguments: str) -> str:
        """Add a piece of the arguments; return the new part of the input."""
        self._arguments += arguments
        if self._at is None:
            opening = _OPENING.match(self._arguments)
            if opening is None:
                return ""
            self._at = opening.end()
        ready = _READY.match(self._arguments, self._at)
        assert ready is not None  # the pattern matches the empty text
        self._at = ready.end()
        new: str = json.loads(f'"{ready[0]}"', strict=False)
        self.text += new
        return new

    def rest(self, *, is_cut: bool) -> str:
        """Return the rest of the input at the end of the arguments.

        Arguments that are not an object with an input are the input as a whole. If they were cut off before the input
        began, there is none.
        """
        if self._at is not None:
            new = self._unreadable(self._at)
        elif is_cut and _BEGINNING.startswith("".join(self._arguments.split())):
            new = ""
        else:
            new = self._whole()
        self.text += new
        return new

    def _whole(self) -> str:
        given = self._arguments
        try:
            value = json_text.decode(given or "{}")
        except ValueError:
            return given
        found = value.get(INPUT) if isinstance(value, dict) else None
        return found if isinstance(found, str) else "" if value == {} else given

    def _unreadable(self, at: int) -> str:
        """Return the rest of the string from ``at``, such as half a surrogate pair or an invalid escape."""
        inside = _INSIDE.match(self._arguments, at)
        assert inside is not None  # as above
        self._at = inside.end()
        for text in (inside[0], _CUT_ESCAPE.sub("", inside[0])):
            with suppress(ValueError):
                read: str = json.loads(f'"{text}"', strict=False)
                return read.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        self._is_sound = False
        return inside[0]

    @property
    def is_input_alone(self) -> bool:
        """Whether the arguments were an object with an input and nothing else."""
        if self._at is None or not self._is_sound:
            return False
        return re.fullmatch(r'"\s*\}\s*', self._arguments[self._at :]) is not None


class CustomCallRewriter:
    """Rewrites the pieces of one choice: calls of the tools in ``inputs`` become custom calls."""

    def __init__(self, inputs: Mapping[str, InputFormat]) -> None:
        self._inputs = inputs
        self._calls: dict[int, tuple[str, InputReader]] = {}

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` with custom calls; at the end, its finish details say what is wrong with their inputs."""
        rewritten: list[Event] = []
        for event in piece:
            if isinstance(event, ToolCallPiece):
                rewritten.append(self._part(event))
            elif isinstance(event, Finish):
                self._end(rewritten, event)
                rewritten.append(self._judged(event))
            else:
                rewritten.append(event)
        return tuple(rewritten)

    def _part(self, event: ToolCallPiece) -> Event:
        if event.name is not None and event.name in self._inputs and event.index not in self._calls:
            self._calls[event.index] = (event.name, InputReader())
        elif event.index not in self._calls:
            return event
        new = self._calls[event.index][1].feed(event.arguments or "")
        if not new and event.name is None and event.id is None:
            return Begin(envelope=event.envelope, choice=event.choice, role=None, extra=event.extra)
        return CustomCallPiece(
            envelope=event.envelope,
            choice=event.choice,
            extra=event.extra,
            index=event.index,
            id=event.id,
            name=event.name,
            input=new,
            call_extra={**event.call_extra, **TYPE} if event.name is not None else event.call_extra,
        )

    def _end(self, piece: list[Event], event: Finish) -> None:
        """Add the rest of the calls to ``piece``, in which each call occurs once."""
        for index, (_, text) in self._calls.items():
            if not (rest := text.rest(is_cut=event.reason == "length")):
                continue
            for place, other in enumerate(piece):
                if isinstance(other, CustomCallPiece) and other.index == index:
                    piece[place] = replace(other, input=(other.input or "") + rest)
                    break
            else:
                piece.append(CustomCallPiece(envelope=event.envelope, choice=event.choice, index=index, input=rest))

    def _judged(self, event: Finish) -> Finish:
        if event.reason == "length" or event.details is not None:
            return event
        problems = [problem for call in self._calls.values() if (problem := self._problem(*call)) is not None]
        return replace(event, details=FinishDetails(kind=VIOLATED, message="; ".join(problems))) if problems else event

    def _problem(self, name: str, text: InputReader) -> str | None:
        wanted = self._inputs[name]
        try:
            if wanted.kind == "regex" and not patterns.fullmatch(wanted.definition, text.text):
                return f'the input of "{name}" does not match its regular expression'
        except patterns.TooSlow as error:
            return f'the input of "{name}": {error}'
        if not text.is_input_alone:
            return f'the call of "{name}" has another form than one text'
        return None


class RawInputRewriter:
    """Rewrites the pieces of one choice whose text is a :func:`call_opening` followed by the input."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._opening = call_opening(name)
        self._text: str | None = ""
        """The text so far; ``None`` after the opening."""

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` with a part of the call in place of the text.

        Raises:
            InvalidRequest: there is no opening, so the engine did not apply the grammar.
        """
        return tuple(self._rewritten(event) for event in piece)

    def _rewritten(self, event: Event) -> Event:
        if isinstance(event, Finish):
            is_made = event.reason == "stop" and self._text is None
            return replace(event, reason="tool_calls") if is_made else event
        if not isinstance(event, Text):
            return event
        named: dict[str, Any] = {}
        new = event.text
        if self._text is not None:
            self._text += event.text
            if not (self._opening.startswith(self._text) or self._text.startswith(self._opening)):
                raise InvalidRequest(
                    f'tools: the Lark grammar of "{self._name}" is none that llguidance can use: {LARK_SYNTAX}',
                    param="tools",
                )
            if len(self._text) < len(self._opening):
                return Begin(envelope=event.envelope, choice=event.choice, role=None, extra=event.extra)
            new, self._text = self._text[len(self._opening) :], None
            named = {"id": f"call_{secrets.token_hex(12)}", "name": self._name, "call_extra": TYPE}
        return CustomCallPiece(
            envelope=event.envelope, choice=event.choice, extra=event.extra, index=0, input=new, **named
        )


def call_opening(name: str) -> str:
    """Return the text before an unquoted input, which shows the model what it writes.

    No model begins like this by itself, so an answer that does proves that the engine applies the grammar.
    """
    return f"Call of {json.dumps(name, ensure_ascii=False)} with this text as its input:\n"

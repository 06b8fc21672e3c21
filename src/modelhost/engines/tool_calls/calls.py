"""Incremental parsers of tool calls; each form of calls has its own :class:`CallParser`.

A form is how a model writes its calls: :mod:`.objects`, :mod:`.tagged`, :mod:`.python`, :mod:`.gemma` and
:mod:`.channels` are the kinds, :mod:`.forms` is the table.
"""

from __future__ import annotations

import json
import secrets
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

CallDelta = dict[str, Any]
"""An entry of ``tool_calls`` in a delta."""
SHORT_ID = 9
"""The length of ids of calls for models that accept no other (Mistral's templates check it)."""
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, kw_only=True)
class CallForm(ABC):
    """The form in which a model writes calls.

    Args:
        opening: the marker before a call, or several.
        closing: the marker after them; without one, they end where other text follows.
        inner: markers within a call.
    """

    opening: str = ""
    closing: str = ""
    inner: tuple[str, ...] = ()
    has_short_ids: bool = False

    @property
    def openings(self) -> tuple[str, ...]:
        """The markers at the beginning of one call or several; the first one is the usual one."""
        return (self.opening,)

    @property
    def markers(self) -> frozenset[str]:
        """All markers that may be single tokens of the model and have to be read as text."""
        return frozenset(filter(None, (self.opening, self.closing, *self.inner)))

    def may_start_unmarked(self, text: str) -> bool:
        """Return whether an answer that begins with ``text`` may be a call without a marker."""
        return False

    @abstractmethod
    def parser(self, calling: ToolCallFormat, opening: str, index: int) -> CallParser:
        """Return a parser of the text after ``opening``; the next call is the ``index``-th of the answer."""

    @abstractmethod
    def grammar(self, tools: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, int]) -> str:
        """Return the Lark grammar of exactly one call of one of ``tools``.

        ``vocabulary`` has the added tokens of the model: a marker among them is one token.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFormat:
    """The calls of a request: their form, the tools, and whether at most one call is allowed."""

    form: CallForm
    tools: Sequence[Mapping[str, Any]]
    one_call: bool = False

    def parameters_of(self, name: str) -> Mapping[str, Any]:
        """Return the schema of the arguments of the tool ``name``; empty if there is no such tool."""
        found = (tool["function"].get("parameters") for tool in self.tools if tool["function"]["name"] == name)
        return next(found, None) or {}

    def has(self, name: str) -> bool:
        return any(tool["function"]["name"] == name for tool in self.tools)


class ParsedText(NamedTuple):
    """A parsed part of an answer: pieces of calls, ordinary text, reasoning."""

    pieces: list[CallDelta]
    text: str
    thoughts: str


class CallParser(ABC):
    """Parses an answer from the beginning of a call to where ordinary text continues.

    ``calls`` is the number of calls of the whole answer that have begun. ``rest`` is the text after the end, once that
    is reached. ``is_thinking``: the next text is reasoning.
    """

    def __init__(self, calling: ToolCallFormat, opening: str, index: int) -> None:
        self.calls = index
        self.rest: str | None = None
        self.is_thinking = False
        self._calling, self._opening, self._first = calling, opening, index
        self._waiting = ""
        self._pieces: list[CallDelta] = []
        self._texts: list[str] = []
        self._thoughts: list[str] = []

    def feed(self, text: str) -> ParsedText:
        self._waiting += text
        while self.rest is None and self._advance():
            pass
        parsed = ParsedText(self._pieces, "".join(self._texts), "".join(self._thoughts))
        self._pieces, self._texts, self._thoughts = [], [], []
        return parsed

    def last_pieces(self) -> list[CallDelta]:
        """Return the pieces of calls that only the end of the answer completes; :meth:`finish` is called after it."""
        pieces, self._pieces = self._pieces, []
        return pieces

    @abstractmethod
    def finish(self) -> str:
        """Return the text, or the reasoning, of what was cut off before it became a call."""

    @abstractmethod
    def _advance(self) -> bool:
        """Parse the next part of the waiting text; return whether there may be more."""

    @property
    def _has_called(self) -> bool:
        return self.calls > self._first

    def _begin(self, name: str, arguments: str = "") -> None:
        """Emit the beginning of a call, with the available part of its arguments."""
        function = {"name": name, "arguments": arguments}
        number = _short_id() if self._calling.form.has_short_ids else f"call_{secrets.token_hex(12)}"
        self._pieces.append({"index": self.calls, "id": number, "type": "function", "function": function})
        self.calls += 1

    def _go_on(self, arguments: str) -> None:
        """Emit more of the arguments of the last call."""
        if arguments:
            self._pieces.append({"index": self.calls - 1, "function": {"arguments": arguments}})

    def _give_up(self, text: str, rest: str) -> None:
        """Treat ``text`` as ordinary text, followed by ``rest``."""
        self._texts.append(self._unread(text))
        self.rest = rest

    def _unread(self, text: str) -> str:
        """Return ``text``, which is not a call, with the text before it."""
        return text if self._has_called else self._opening + text


class WholeCallParser(CallParser):
    """Parses calls that are emitted only once they are complete."""

    def __init__(self, calling: ToolCallFormat, opening: str, index: int, form: WholeForm) -> None:
        super().__init__(calling, opening, index)
        self._form = form

    def finish(self) -> str:
        return self._unread(self._waiting)

    def _advance(self) -> bool:
        end = self._form.end_of(self._waiting, self._opening)
        if end is None:
            return False
        inside, rest = self._waiting[: end[0]], self._waiting[end[1] :]
        calls = _as_json(self._form.read(inside) or [])
        may_be = calls and (self._opening or all(self._calling.has(name) for name, _ in calls))
        if not calls or not may_be:
            self._give_up(self._waiting[: end[1]], rest)
            return False
        for name, arguments in calls[:1] if self._calling.one_call else calls:
            self._begin(name, arguments)
        self.rest = rest
        return False


class WholeForm(Protocol):
    """The part of a form that a :class:`WholeCallParser` needs."""

    def end_of(self, text: str, opening: str) -> tuple[int, int] | None:
        """Return the end of the calls in ``text`` and the start of the rest; ``None`` if they are incomplete.

        The end is also that of a text that begins without a marker and cannot become a call.
        """
        ...

    def read(self, text: str) -> list[tuple[str, Mapping[str, Any]]] | None:
        """Return the calls in ``text`` with their arguments; ``None`` if it is not one."""
        ...


def held_back(text: str, markers: Sequence[str]) -> int:
    """Return how many characters at the end of ``text`` may be the beginning of one of ``markers``."""
    longest = max((len(marker) for marker in markers), default=0)
    for length in range(min(longest - 1, len(text)), 0, -1):
        tail = text[-length:]
        if any(marker.startswith(tail) for marker in markers):
            return length
    return 0


def _as_json(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """Return ``calls`` with their arguments as JSON; no calls if JSON cannot represent a value of one."""
    try:
        written = [(name, json.dumps(arguments, ensure_ascii=False, allow_nan=False)) for name, arguments in calls]
        "".join(arguments for _, arguments in written).encode()  # half a character can be written, and not sent
    except (TypeError, ValueError, RecursionError):
        return []
    return written


def _short_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(SHORT_ID))

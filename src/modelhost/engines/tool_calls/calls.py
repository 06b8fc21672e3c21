"""Tool calls read while they are written; each form of calls has a :class:`CallParser` of its own.

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
"""The length of an id of a call where a model knows no other (Mistral's templates check it)."""
_ALPHABET = string.ascii_letters + string.digits


class CallForm(Protocol):
    """How a model writes its calls."""

    @property
    def openings(self) -> tuple[str, ...]:
        """The markers that a call, or several, begin with; the first one is the usual one."""
        ...

    @property
    def markers(self) -> frozenset[str]:
        """All that may be a single token of the model, and has to be read as text."""
        ...

    @property
    def has_short_ids(self) -> bool: ...

    def may_start_unmarked(self, text: str) -> bool:
        """Return whether an answer that begins with ``text`` may be a call without a marker."""
        ...

    def parser(self, calling: ToolCallFormat, opening: str, index: int) -> CallParser:
        """Return a reader of what follows ``opening``; the next call is the ``index``-th of the answer."""
        ...

    def grammar(self, tools: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, int]) -> str:
        """Return the Lark grammar of exactly one call of one of ``tools``.

        ``vocabulary`` are the tokens that are added to the model's own: a marker among them is one token.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFormat:
    """What a request says of calls: their form, the tools that may be called, whether there is to be one at most."""

    form: CallForm
    tools: Sequence[Mapping[str, Any]]
    one_call: bool = False

    def parameters_of(self, name: str) -> Mapping[str, Any]:
        """Return the schema of the arguments of the tool ``name``; nothing if there is none."""
        found = (tool["function"].get("parameters") for tool in self.tools if tool["function"]["name"] == name)
        return next(found, None) or {}

    def has(self, name: str) -> bool:
        return any(tool["function"]["name"] == name for tool in self.tools)


class ParsedText(NamedTuple):
    """What there was in a part of an answer: pieces of calls, text that turned out to be none, thoughts."""

    pieces: list[CallDelta]
    text: str
    thoughts: str


class CallParser(ABC):
    """Reads an answer from the beginning of a call to where ordinary text goes on.

    ``calls`` counts the calls of the whole answer that have begun. ``rest`` is what stands behind the end, once that
    has come. ``is_thinking``: what comes next is no part of what is said.
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
        """Return what is ready after ``text`` has come."""
        self._waiting += text
        while self.rest is None and self._advance():
            pass
        told = ParsedText(self._pieces, "".join(self._texts), "".join(self._thoughts))
        self._pieces, self._texts, self._thoughts = [], [], []
        return told

    def last_pieces(self) -> list[CallDelta]:
        """Return the pieces of calls that only the end of the answer makes complete; :meth:`finish` comes after."""
        pieces, self._pieces = self._pieces, []
        return pieces

    @abstractmethod
    def finish(self) -> str:
        """Return the text, or the thoughts, of what was cut off before it became a call."""

    @abstractmethod
    def _advance(self) -> bool:
        """Read the next part of what waits; return whether there may be more of it."""

    @property
    def _has_called(self) -> bool:
        return self.calls > self._first

    def _begin(self, name: str, arguments: str = "") -> None:
        """Tell of a call, with as much of its arguments as is there."""
        function = {"name": name, "arguments": arguments}
        number = _short_id() if self._calling.form.has_short_ids else f"call_{secrets.token_hex(12)}"
        self._pieces.append({"index": self.calls, "id": number, "type": "function", "function": function})
        self.calls += 1

    def _go_on(self, arguments: str) -> None:
        """Tell more of the arguments of the last call."""
        if arguments:
            self._pieces.append({"index": self.calls - 1, "function": {"arguments": arguments}})

    def _give_up(self, text: str, rest: str) -> None:
        """Tell that ``text`` is no call, and that ``rest`` comes after it."""
        self._texts.append(self._unread(text))
        self.rest = rest

    def _unread(self, text: str) -> str:
        """Return ``text`` that is no call with what stands before it."""
        return text if self._has_called else self._opening + text


class WholeCallParser(CallParser):
    """Reads calls that can be told only when all of them are there."""

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
    """What a :class:`WholeCallParser` asks of its form."""

    def end_of(self, text: str, opening: str) -> tuple[int, int] | None:
        """Return where the calls end in ``text`` and where the rest begins; ``None``: not yet.

        The first is also where a text ends that begins without a marker and cannot become a call.
        """
        ...

    def read(self, text: str) -> list[tuple[str, Mapping[str, Any]]] | None:
        """Return the calls in ``text`` with their arguments; ``None`` if it is none."""
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
    """Return ``calls`` with their arguments as JSON; none of them if one has a value that JSON cannot write."""
    try:
        written = [(name, json.dumps(arguments, ensure_ascii=False, allow_nan=False)) for name, arguments in calls]
        "".join(arguments for _, arguments in written).encode()  # half a character can be written, and not sent
    except (TypeError, ValueError, RecursionError):
        return []
    return written


def _short_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(SHORT_ID))

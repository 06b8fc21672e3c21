"""A chat answer read while it is written: what is reasoning, text or a tool call, and which stop string ends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from modelhost.engines.special_tokens import FRAME_ENDS, FRAMES, THOUGHTS, unframed
from modelhost.engines.tool_calls.calls import CallParser, ToolCallFormat, held_back
from modelhost.engines.tool_calls.channels import ChannelForm

_WITHOUT_TOOLS: Final = ToolCallFormat(form=ChannelForm(), tools=())
"""Answers in channels are parsed even without tools."""

Delta = dict[str, Any]


class ChatReader:
    """Parses the text of one answer into deltas.

    Args:
        calling: the form of calls, if the request has tools.
        reads_reasoning: the model writes its reasoning, or frames its text (:data:`~.special_tokens.ANSWER_MARKS`).
        is_thinking: the prompt has already begun the reasoning.
    """

    def __init__(self, *, calling: ToolCallFormat | None, reads_reasoning: bool, is_thinking: bool = False) -> None:
        calling = calling or (_WITHOUT_TOOLS if reads_reasoning else None)
        self._calling, self._reads_reasoning = calling, reads_reasoning
        self._openings = calling.form.openings if calling else ()
        self._is_thinking = is_thinking
        self._thoughts_ends = tuple(THOUGHTS.values())
        self._frame_ends = FRAME_ENDS if reads_reasoning else ()
        self._may_open = _beginnings(reads_reasoning=reads_reasoning, is_thinking=is_thinking)
        self._is_at_start = True  # of the reasoning or of the text: blank lines there are not part of it
        self._waiting = ""
        self._may_be_bare = True  # a call without a marker before it stands at the beginning of the text
        self._parser: CallParser | None = None
        self.calls = 0
        self.is_done = False

    def feed(self, text: str) -> list[Delta]:
        """Return the deltas that are complete after ``text``."""
        self._waiting += text
        deltas: list[Delta] = []
        while self._waiting and not self.is_done and self._advance(deltas):
            pass
        return deltas

    def finish(self) -> list[Delta]:
        """Return what was held back, at the end of the answer."""
        if self.is_done:
            return []
        pieces = self._parser.last_pieces() if self._parser is not None else []
        return [{"tool_calls": pieces}, *self._held()] if pieces else self._held()

    def _held(self) -> list[Delta]:
        """Return the waiting text as a delta of its current kind."""
        waiting, self._waiting = self._waiting, ""
        if self._parser is not None:
            waiting, self._is_thinking = self._parser.finish(), self._parser.is_thinking
        elif self._frame_ends and not self._is_thinking:
            waiting = unframed(waiting)
        if self._is_thinking:
            return [{"reasoning_content": waiting}] if waiting.strip() else []
        if self.calls and not waiting.strip():
            return []
        return [{"content": waiting}] if waiting else []

    def _advance(self, deltas: list[Delta]) -> bool:
        """Parse the next part of the waiting text; return whether the rest is of another kind."""
        if self._parser is not None:
            return self._read_calls(self._parser, deltas)
        return self._read_reasoning(deltas) if self._is_thinking else self._read_text(deltas)

    def _read_reasoning(self, deltas: list[Delta]) -> bool:
        found = _first_of(self._thoughts_ends, self._waiting)
        before, _, after = self._waiting.partition(found) if found else (self._waiting, "", "")
        ready = before.rstrip() if found else self._without_held(before, self._thoughts_ends)
        self._emit("reasoning_content", ready, deltas)
        self._waiting = after if found else before[len(ready) :]
        if found:
            self._is_thinking, self._is_at_start, self._may_be_bare = False, True, True
        return found is not None

    def _read_text(self, deltas: list[Delta]) -> bool:
        if self._calling is not None and self._may_be_bare:
            bare = self._waiting.lstrip()
            self._may_be_bare = self._calling.form.may_start_unmarked(bare)
            if self._may_be_bare:
                self._parser = self._calling.form.parser(self._calling, "", self.calls) if bare else None
                return bool(bare)
        if self._may_open and (beginning := self._waiting.lstrip()):
            if (opened := next((each for each in self._may_open if beginning.startswith(each)), None)) is not None:
                self._open(opened, beginning)
                return True
            if any(each.startswith(beginning) for each in self._may_open):
                return False
        return self._read_up_to_calls(deltas)

    def _read_up_to_calls(self, deltas: list[Delta]) -> bool:
        found = _first_of(self._openings, self._waiting)
        if found is None or self._calling is None:
            ready = self._without_held(self._waiting, self._openings + self._frame_ends)
            ready = unframed(ready) if self._frame_ends else ready
            self._waiting = self._waiting[len(ready) :]
            self._emit("content", ready, deltas)
            return False
        before, _, self._waiting = self._waiting.partition(found)
        self._emit("content", (unframed(before) if self._frame_ends else before).rstrip(), deltas)
        self._parser = self._calling.form.parser(self._calling, found, self.calls)
        return True

    def _open(self, marker: str, text: str) -> None:
        """Begin the reasoning or the frame whose ``marker`` is at the beginning of ``text``."""
        self._waiting, self._is_at_start = text.removeprefix(marker), True
        self._is_thinking = marker in THOUGHTS
        if self._is_thinking:
            self._thoughts_ends, self._may_open = (THOUGHTS[marker],), tuple(FRAMES)
        else:
            self._may_open = ()

    def _read_calls(self, parser: CallParser, deltas: list[Delta]) -> bool:
        pieces, text, thoughts = parser.feed(self._waiting)
        self._waiting = ""
        if thoughts:
            self._emit("reasoning_content", thoughts, deltas)
        if pieces:
            deltas.append({"tool_calls": pieces})
        if parser.calls > self.calls:
            self.calls = parser.calls
            self._may_open = ()
        if text:
            self._emit("content", text, deltas)
        if parser.rest is None:
            return False
        self._parser, self._waiting, self._is_at_start, self._may_be_bare = None, parser.rest, True, False
        self.is_done = self._calling is not None and self._calling.one_call and self.calls > 0
        return True

    def _emit(self, kind: str, text: str, deltas: list[Delta]) -> None:
        if self._is_at_start and (self._reads_reasoning or self.calls):
            text = text.lstrip()
        if text:
            self._is_at_start = False
            self._may_open = self._may_open if kind != "content" else ()
            deltas.append({kind: text})

    def _without_held(self, text: str, markers: tuple[str, ...]) -> str:
        """Return ``text`` without a possible beginning of a marker, and the blanks before that."""
        if not markers:
            return text
        return text[: len(text) - held_back(text, markers)].rstrip()


def _beginnings(*, reads_reasoning: bool, is_thinking: bool) -> tuple[str, ...]:
    """Return the markers with which an answer, or the text after its reasoning, may begin."""
    if not reads_reasoning:
        return ()
    return tuple(FRAMES) if is_thinking else (*THOUGHTS, *FRAMES)


def _first_of(markers: tuple[str, ...], text: str) -> str | None:
    return min((marker for marker in markers if marker in text), key=text.find, default=None)


class StopFinder:
    """Passes a text on up to its first stop string, which is left out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.is_found = False

    def feed(self, text: str) -> str:
        """Return the text that can be passed on after ``text``."""
        if self.is_found or not self._stops:
            return "" if self.is_found else text
        text = self._held + text
        found = [position for stop in self._stops if (position := text.find(stop)) >= 0]
        if found:
            self.is_found, self._held = True, ""
            return text[: min(found)]
        held = held_back(text, self._stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """Return what was held back, at the end of the answer."""
        held, self._held = self._held, ""
        return held

"""A chat answer read while it is written: what of it is reasoning, what is text, what is a tool call."""

from __future__ import annotations

from typing import Any

from modelhost.engines.library_worker.calls import Calling, Section
from modelhost.engines.library_worker.stops import held_back

THINK, UNTHINK = "<think>", "</think>"

Delta = dict[str, Any]


class ChatReader:
    """Turns the text of one answer into deltas.

    Args:
        calling: the calls that are read, where the request shows tools.
        reads_reasoning: the model thinks aloud between ``<think>`` and ``</think>``.
        is_thinking: the prompt has opened ``<think>`` already.
    """

    def __init__(self, *, calling: Calling | None, reads_reasoning: bool, is_thinking: bool = False) -> None:
        self._calling, self._reads_reasoning = calling, reads_reasoning
        self._openings = calling.form.openings if calling else ()
        self._is_thinking = is_thinking
        self._may_think = reads_reasoning and not is_thinking
        self._is_at_start = True  # of the reasoning or of the text: blank lines there are not part of it
        self._waiting = ""
        self._may_be_bare = True  # a call without a marker before it stands at the beginning of the text
        self._section: Section | None = None
        self.calls = 0
        self.is_done = False

    def feed(self, text: str) -> list[Delta]:
        """Return the deltas that are ready after ``text`` has come."""
        self._waiting += text
        deltas: list[Delta] = []
        while self._waiting and not self.is_done and self._advance(deltas):
            pass
        return deltas

    def finish(self) -> list[Delta]:
        """Return what was held back, now that nothing more comes."""
        waiting, self._waiting = self._waiting, ""
        if self.is_done:
            return []
        if self._section is not None:
            waiting = self._section.finish()
        if self._is_thinking:
            return [{"reasoning_content": waiting}] if waiting.strip() else []
        if self.calls and not waiting.strip():
            return []
        return [{"content": waiting}] if waiting else []

    def _advance(self, deltas: list[Delta]) -> bool:
        """Take the next part of what waits; return whether the rest of it is of another kind."""
        if self._section is not None:
            return self._read_calls(self._section, deltas)
        return self._read_reasoning(deltas) if self._is_thinking else self._read_text(deltas)

    def _read_reasoning(self, deltas: list[Delta]) -> bool:
        before, marker, after = self._waiting.partition(UNTHINK)
        ready = before.rstrip() if marker else self._without_held(before, (UNTHINK,))
        self._emit("reasoning_content", ready, deltas)
        self._waiting = after if marker else before[len(ready) :]
        if marker:
            self._is_thinking, self._is_at_start, self._may_be_bare = False, True, True
        return bool(marker)

    def _read_text(self, deltas: list[Delta]) -> bool:
        if self._calling is not None and self._may_be_bare and (bare := self._waiting.lstrip()):
            self._may_be_bare = self._calling.form.begins_bare(bare)
            if self._may_be_bare:
                self._section = self._calling.form.section(self._calling, "", self.calls)
                return True
        markers = self._openings + ((THINK,) if self._may_think else ())
        found = min((marker for marker in markers if marker in self._waiting), key=self._waiting.find, default=None)
        if found is None:
            ready = self._without_held(self._waiting, markers)
            self._waiting = self._waiting[len(ready) :]
            self._emit("content", ready, deltas)
            return False
        before, _, self._waiting = self._waiting.partition(found)
        self._emit("content", before.rstrip(), deltas)
        if self._calling is not None and found in self._openings:
            self._section = self._calling.form.section(self._calling, found, self.calls)
            return True
        if self._may_think:  # the text before it was blank
            self._is_thinking, self._may_think, self._is_at_start = True, False, True
        else:
            self._emit("content", found, deltas)
        return True

    def _read_calls(self, section: Section, deltas: list[Delta]) -> bool:
        pieces, text = section.feed(self._waiting)
        self._waiting = ""
        if pieces:
            deltas.append({"tool_calls": pieces})
        if section.calls > self.calls:
            self.calls = section.calls
            self._may_think = False
        if text:
            self._emit("content", text, deltas)
        if section.rest is None:
            return False
        self._section, self._waiting, self._is_at_start, self._may_be_bare = None, section.rest, True, False
        self.is_done = self._calling is not None and self._calling.one_call and self.calls > 0
        return True

    def _emit(self, kind: str, text: str, deltas: list[Delta]) -> None:
        if self._is_at_start and (self._reads_reasoning or self.calls):
            text = text.lstrip()
        if text:
            self._is_at_start = False
            self._may_think = self._may_think and kind != "content"
            deltas.append({kind: text})

    def _without_held(self, text: str, markers: tuple[str, ...]) -> str:
        """Return ``text`` without what may be the beginning of a marker, and without the blanks before that."""
        if not markers:
            return text
        return text[: len(text) - held_back(text, markers)].rstrip()

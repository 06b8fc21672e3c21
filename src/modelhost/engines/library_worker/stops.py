"""Where a text has to end: stop strings, found across the pieces in which the text comes."""

from __future__ import annotations

from collections.abc import Sequence

from modelhost.engines.library_worker.calls import held_back


class StopFinder:
    """Passes a text on up to the first stop string in it, which is left out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.is_found = False

    def feed(self, text: str) -> str:
        """Return what can be passed on after ``text`` has come."""
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
        """Return what was held back, now that nothing more comes."""
        held, self._held = self._held, ""
        return held

"""Notes on what the host changed in a request, or could not do for it: a header of the answer, and the log."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from modelhost.logs import get_logger

log = get_logger(__name__)

NEUTRALISED: Final = "special-tokens-neutralised"
"""A message held the text of a control token of the model; the engine got a copy in which it is ordinary text."""
ON_NOTE: Final[ContextVar[Callable[[str], None] | None]] = ContextVar("modelhost_on_note", default=None)
"""Receives the notes of the current request."""


class Notes:
    """The notes of one request, each sent once."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._on_note = ON_NOTE.get()
        self._sent: set[str] = set()

    def add(self, note: str) -> None:
        if note in self._sent:
            return
        self._sent.add(note)
        log.info("request_changed", model=self._model, note=note)
        if self._on_note is not None:
            self._on_note(note)

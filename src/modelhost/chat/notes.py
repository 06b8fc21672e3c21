"""What the host does to a request, or cannot do for it: told to clients in a header of the answer, and in the log."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from modelhost.logs import get_logger

log = get_logger(__name__)

NEUTRALISED: Final = "special-tokens-neutralised"
"""A message held the name of a control token of the model, and the engine got a copy in which it is none."""
ON_NOTE: Final[ContextVar[Callable[[str], None] | None]] = ContextVar("modelhost_on_note", default=None)
"""Is told the notes of the request that the running code works for."""


class Notes:
    """Those of one request, each of which is told once."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._on_note = ON_NOTE.get()
        self._told: set[str] = set()

    def tell(self, note: str) -> None:
        if note in self._told:
            return
        self._told.add(note)
        log.info("request_changed", model=self._model, note=note)
        if self._on_note is not None:
            self._on_note(note)

"""Background work in rounds, of which one that fails must not end the following ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from modelhost.logs import get_logger
from modelhost.meters import METERS

log = get_logger(__name__)

SECONDS_TO_REPAIR: Final = 5.0
"""After which failed work without rounds, such as watching a file, is restarted."""


@dataclass(slots=True)
class RoundResult:
    """The outcome of a round."""

    fault: Exception | None = None


@contextmanager
def log_failures(task: str, **about: Any) -> Iterator[RoundResult]:
    """Log and count exceptions of a round of ``task``, with ``about``, instead of raising them.

    For faults of the host itself, such as running out of file descriptors. Expected errors are handled where they
    occur.
    """
    this = RoundResult()
    try:
        yield this
    except Exception as fault:
        this.fault = fault
        log.exception("background_fault", task=task, **about)
        METERS.background_faults.labels(task).inc()

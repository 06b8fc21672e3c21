"""Rounds of background work: one that fails must not end those that would come after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from modelhost.logs import get_logger
from modelhost.meters import METERS

log = get_logger(__name__)

SECONDS_TO_REPAIR: Final = 5.0
"""After which work without rounds, such as watching a file, begins anew when it has failed."""


@dataclass(slots=True)
class RoundResult:
    """What became of a round."""

    fault: Exception | None = None


@contextmanager
def log_failures(task: str, **about: Any) -> Iterator[RoundResult]:
    """Have a round of ``task`` fail alone: whatever it raises is logged, with ``about``, and counted.

    For faults of the host itself, such as having no descriptor left. What can be expected is handled where it comes up.
    """
    this = RoundResult()
    try:
        yield this
    except Exception as fault:
        this.fault = fault
        log.exception("background_fault", task=task, **about)
        METERS.background_faults.labels(task).inc()

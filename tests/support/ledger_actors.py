"""The requests and workers of :mod:`tests.support.ledger_world`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from modelhost.errors import ModelhostError
from modelhost.models.residency.record import NEVER, Ticket


class Fate(Enum):
    """What has become of a request."""

    WAITING = auto()
    GRANTED = auto()
    REFUSED = auto()
    CANCELLED = auto()
    DONE = auto()
    BROKEN = auto()
    """Its worker was ended or died while it had it."""


class Life(Enum):
    """Where a worker, or the search for a model's files, is."""

    FETCHING = auto()
    LOADING = auto()
    READY = auto()
    STOPPING = auto()


@dataclass(slots=True, eq=False)
class Hand:
    """A worker as it really is, or a download."""

    model: str
    run: int
    life: Life
    memory: Mapping[str, int] = field(default_factory=dict)
    is_download: bool = False


@dataclass(slots=True, eq=False)
class Request:
    """A request as its sender knows it."""

    ticket: Ticket
    asked_at: float
    wait_seconds: float
    fate: Fate = Fate.WAITING
    waited: float = 0.0
    """Seconds in the queue during which the model was not being loaded."""
    answered_at: float = NEVER
    error: ModelhostError | None = None

    @property
    def model(self) -> str:
        return self.ticket.model

    @property
    def seconds(self) -> float:
        return self.answered_at - self.asked_at

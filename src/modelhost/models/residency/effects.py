"""The effects that the ledger decides on, and the scheduler carries out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelhost.errors import ModelhostError
from modelhost.models.residency.record import Ticket

StopReason = Literal["evicted", "idle", "asked", "forced", "changed"]


@dataclass(frozen=True, slots=True)
class Grant:
    """The request has its turn now."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request is answered with an error."""

    ticket: Ticket
    error: ModelhostError


@dataclass(frozen=True, slots=True)
class Fetch:
    """Find the model's files and what they need; answered by :class:`FilesFound` or :class:`LoadFailed`."""

    model: str
    run: int


@dataclass(frozen=True, slots=True)
class Load:
    """Start a worker; answered by :class:`Loaded` or :class:`LoadFailed`. ``is_smaller``: with a smaller context."""

    model: str
    run: int
    is_smaller: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """End the worker; answered by :class:`WorkerStopped` when its memory is free."""

    model: str
    run: int
    reason: StopReason


@dataclass(frozen=True, slots=True)
class ReloadFinished:
    """The attempt to load the model with another configuration is over; with an ``error`` it has the one before again.

    ``has_failed``: it was tried, and did not work.
    """

    model: str
    error: ModelhostError | None = None
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The model's state has changed."""

    model: str


@dataclass(frozen=True, slots=True)
class ModelRemoved:
    """The model is gone for good."""

    model: str


Effect = Grant | Refuse | Fetch | Load | Stop | ReloadFinished | StateChanged | ModelRemoved

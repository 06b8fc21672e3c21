"""The effects that the ledger decides on, and the scheduler carries out.

These, the reports, and the values of plans and of status are structs: each start defines them anew, and to define
thirty dataclasses takes 20 ms.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from modelhost.errors import ModelhostError
from modelhost.models.residency.record import Ticket

StopReason = Literal["evicted", "idle", "asked", "forced", "changed"]


class Grant(Struct, frozen=True):
    """The request has its turn now."""

    ticket: Ticket


class Refuse(Struct, frozen=True):
    """The request is answered with an error."""

    ticket: Ticket
    error: ModelhostError


class Fetch(Struct, frozen=True):
    """Find the model's files and what they need; answered by :class:`FilesFound` or :class:`LoadFailed`."""

    model: str
    run: int


class Load(Struct, frozen=True):
    """Start a worker; answered by :class:`Loaded` or :class:`LoadFailed`. ``is_smaller``: with a smaller context."""

    model: str
    run: int
    is_smaller: bool


class Stop(Struct, frozen=True):
    """End the worker; answered by :class:`WorkerStopped` when its memory is free."""

    model: str
    run: int
    reason: StopReason


class ReloadFinished(Struct, frozen=True):
    """The attempt to load the model with another configuration is over; with an ``error`` it has the one before again.

    ``has_failed``: it was tried, and did not work.
    """

    model: str
    error: ModelhostError | None = None
    has_failed: bool = False


class StateChanged(Struct, frozen=True):
    model: str


class ModelRemoved(Struct, frozen=True):
    """The model is gone for good."""

    model: str


Effect = Grant | Refuse | Fetch | Load | Stop | ReloadFinished | StateChanged | ModelRemoved

"""What is reported to the ledger of a model's worker, and what each report changes in the model's record.

A report concerns one run of a worker (or of the search for its files) and certain phases of the model; at any other
time it is out of date, and the ledger ignores it. :meth:`apply` returns what has to be done at once, or ``None`` if the
report changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from msgspec import Struct

from modelhost.errors import ModelhostError
from modelhost.models.files.memory_pools import Bytes, largest
from modelhost.models.residency import refusals
from modelhost.models.residency.effects import Effect, Refuse, ReloadFinished
from modelhost.models.residency.record import LoadReason, ModelRecord, Phase


class FilesFound(Struct, frozen=True):
    """The files are here, and the model needs this much."""

    need: Bytes
    has_context: bool = True
    phases: ClassVar = (Phase.FETCHING,)

    def apply(self, record: ModelRecord, now: float) -> Iterable[Effect]:
        record.need, record.has_context = self.need, self.has_context
        record.enter(Phase.UNLOADED, now)
        return ()


class FilesChanged(Struct, frozen=True):
    """The files are no longer those that were found: they are inspected again before the model is loaded."""

    phases: ClassVar = (Phase.LOADING,)

    def apply(self, record: ModelRecord, now: float) -> Iterable[Effect]:
        record.need, record.has_shrunk = None, False
        record.leave_memory(now)
        return ()


class LoadCorrected(Struct, frozen=True):
    """The model could not be loaded, and is tried again at once in another way, in which it needs ``need``."""

    need: Bytes
    error: ModelhostError
    phases: ClassVar = (Phase.LOADING,)

    def apply(self, record: ModelRecord, now: float) -> Iterable[Effect]:
        record.need, record.last_error = self.need, self.error
        record.leave_memory(now)
        return ()


class LoadFailed(Struct, frozen=True):
    """The model could not be found or loaded. Out of memory is tried once more at once, with a smaller context."""

    error: ModelhostError
    is_out_of_memory: bool = False
    phases: ClassVar = (Phase.LOADING, Phase.FETCHING)

    def apply(self, record: ModelRecord, now: float) -> Iterable[Effect]:
        record.last_error = self.error
        is_first_time = self.is_out_of_memory and record.phase is Phase.LOADING and not record.has_shrunk
        record.leave_memory(now)
        if record.rollback is not None:
            return [roll_back(record, self.error, now)]
        if is_first_time:
            record.has_shrunk = True
            return ()
        record.retry_at = now + record.backoff.pause()
        record.has_failed = True
        if record.load_reason is LoadReason.REQUESTED and not record.policy.is_pinned:
            record.load_reason = None
        return [Refuse(ticket, refusals.failed(record, now)) for ticket in record.take_queue()]


class Loaded(Struct, frozen=True):
    """The worker is ready and takes this much."""

    memory: Bytes
    phases: ClassVar = (Phase.LOADING,)

    def apply(self, record: ModelRecord, now: float) -> Iterable[Effect]:
        record.charge = record.need = largest(record.charge, self.memory)
        record.loads += 1
        record.load_reason, record.last_error, record.retry_at = None, None, 0.0
        was_reload, record.rollback = record.rollback is not None, None
        record.last_used = now
        record.enter(Phase.READY, now)
        return [ReloadFinished(record.name)] if was_reload else ()


class MemoryMeasured(Struct, frozen=True):
    """The worker takes this much now; it is charged the most that was ever measured of it.

    What a request has taken is not what the model needs to be loaded: one large request would make it too large for
    the budget for good.
    """

    memory: Bytes
    phases: ClassVar = (Phase.READY,)

    def apply(self, record: ModelRecord, now: float) -> Iterable[Effect] | None:
        charge = largest(record.charge, self.memory)
        if charge == record.charge:
            return None
        record.charge = charge
        return ()


class WorkerUnfit(Struct, frozen=True):
    """The worker does work that nobody waits for: it is replaced as soon as it is idle, and begins no more than it has
    to."""

    phases: ClassVar = (Phase.READY,)

    def apply(self, record: ModelRecord, now: float) -> Iterable[Effect]:
        record.is_outdated = record.will_restart = True
        return ()


class WorkerLost(Struct, frozen=True):
    """The worker of a ready model has exited unexpectedly. It is restarted, after a pause."""

    error: ModelhostError
    phases: ClassVar = (Phase.READY,)

    def apply(self, record: ModelRecord, now: float) -> Iterable[Effect]:
        record.last_error = self.error
        record.backoff.survived(now - record.began_at)
        record.retry_at = now + record.backoff.pause()
        if not record.is_removed:
            is_requested = record.policy.is_pinned or record.rollback is not None
            record.want(LoadReason.REQUESTED if is_requested else LoadReason.RESTART, now)
        record.leave_memory(now)
        return ()


class WorkerStopped(Struct, frozen=True):
    """The worker is gone and its memory is free again."""

    phases: ClassVar = (Phase.STOPPING,)

    def apply(self, record: ModelRecord, now: float) -> Iterable[Effect]:
        record.leave_memory(now)
        return ()


Report = (
    FilesFound
    | FilesChanged
    | LoadCorrected
    | LoadFailed
    | Loaded
    | MemoryMeasured
    | WorkerUnfit
    | WorkerLost
    | WorkerStopped
)


def roll_back(record: ModelRecord, error: ModelhostError, now: float) -> Effect:
    """Return a model to its earlier configuration; requests that wait for it are answered with that."""
    rollback = record.rollback
    assert rollback is not None
    record.restore()
    record.want(LoadReason.REQUESTED if rollback.will_restart else None, now)
    record.last_error = refusals.rolled_back(record, rollback, error)
    return ReloadFinished(record.name, record.last_error, has_failed=True)

"""The ledger: which requests wait for which model, what is loaded, and what has to happen next.

All queue and lifecycle state of the host is in here. It has no clock, no task and no process: its methods take what
happened and when, and return what has to be done (:mod:`~modelhost.models.residency.effects`). Each method
leaves it consistent, so that its one owner, the scheduler, need not lock anything. What it guarantees:

* a request is granted or refused exactly once, unless it is cancelled;
* a model with requests in flight is never stopped, but by force;
* a model that cannot be loaded with another configuration has the earlier one again;
* a model has at most one worker at a time, and a pinned one is never evicted;
* what is loaded, being loaded or not gone yet never counts more than the budget, by what was known when it was loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count

from msgspec.structs import replace

from modelhost.errors import InsufficientMemory, ModelBusy, ModelhostError
from modelhost.models.files.memory_pools import Bytes
from modelhost.models.residency import refusals
from modelhost.models.residency.effects import (
    Effect,
    Fetch,
    Grant,
    Load,
    ModelRemoved,
    Refuse,
    ReloadFinished,
    StateChanged,
    Stop,
    StopReason,
)
from modelhost.models.residency.placement import Occupancy, place
from modelhost.models.residency.planner import Burst, BurstLimits, Plan, may_start_request
from modelhost.models.residency.record import NEVER, LoadReason, ModelPolicy, ModelRecord, Phase, Rollback, Ticket
from modelhost.models.residency.reports import Report, roll_back
from modelhost.plurals import counted


class Ledger:
    """The state of all models. ``budget`` limits memory by pool, and the pool ``models`` their number."""

    def __init__(self, budget: Bytes, bursts: BurstLimits | None = None) -> None:
        self.bursts = bursts or BurstLimits()
        self._records: dict[str, ModelRecord] = {}
        self.occupancy = Occupancy(budget, self._records)
        self._next_model: str | None = None
        self._effects: list[Effect] = []
        self._runs = count(1)
        self._is_uncontended = True
        """No model waits for memory, and the budget holds: the end of a request concerns its own model alone."""
        self._timer = NEVER

    def record(self, name: str) -> ModelRecord:
        """Return the record of a model, to be read only."""
        return self._records[name]

    @property
    def records(self) -> Mapping[str, ModelRecord]:
        """All records by model, to be read only."""
        return self._records

    def next_timer(self) -> float:
        """Return the time at which to call :meth:`tick`; infinite if never.

        It may turn out that nothing is due then, because a model has been used meanwhile; it is never too late.
        """
        return self._timer

    @property
    def next_model(self) -> str | None:
        """The model for which memory is being freed."""
        return self._next_model

    def queue_position(self, name: str) -> int | None:
        """Return the position of a model among those that wait to be loaded, from 1; ``None`` if it does not wait."""
        waiting = [record for record in self._records.values() if record.phase is Phase.UNLOADED and record.is_wanted]
        waiting.sort(key=lambda record: (record.name != self._next_model, record.wanted_since))
        names = [record.name for record in waiting]
        return names.index(name) + 1 if name in names else None

    # Models come, change and go.

    def add(
        self, name: str, policy: ModelPolicy, need: Bytes | None = None, *, has_context: bool = True
    ) -> list[Effect]:
        """Add a model; ``need`` is unknown as long as its files are not here.

        Raises:
            ValueError: it is here, perhaps on its way out: :meth:`change` it.
        """
        if name in self._records:
            raise ValueError(f"{name} is in the ledger already")
        self._records[name] = ModelRecord(name=name, policy=policy, need=need, has_context=has_context)
        return [StateChanged(name)]

    def change(self, name: str, policy: ModelPolicy, now: float, *, is_outdated: bool) -> list[Effect]:
        """Change the policy of a model, or cancel its removal.

        ``is_outdated``: its worker has to be replaced, as soon as it is idle.
        """
        record = self._records[name]
        record.policy = policy
        record.is_removed = False
        if is_outdated:
            record.rollback = None
            record.forget_attempts(None)
            record.is_outdated = record.phase is not Phase.UNLOADED
        return self._advance(now)

    def remove(self, name: str, now: float) -> list[Effect]:
        """Remove a model when its last request is done; waiting requests are refused."""
        record = self._records[name]
        record.is_removed = True
        self._cancel_load(record, refusals.removed(name))
        self._refuse_all(record, lambda: refusals.removed(name))
        return self._advance(now)

    # Requests come and go.

    def grant_immediately(self, ticket: Ticket, now: float) -> bool:
        """Grant ``ticket`` if none is before it and nothing has to be decided: the path of nearly every request."""
        record = self._records[ticket.model]
        if (
            record.phase is not Phase.READY
            or record.queue
            or record.burst is not None
            or record.in_flight >= record.policy.max_in_flight
            or record.is_outdated
            or record.is_removed
        ):
            return False
        ticket.run = record.run
        record.in_flight += 1
        record.last_used = now
        return True

    def request(self, ticket: Ticket, now: float) -> list[Effect]:
        """Queue ``ticket`` for its turn, which may come at once."""
        record = self._records[ticket.model]
        if record.is_removed:
            return [Refuse(ticket, refusals.removed(record.name))]
        if record.has_failed and now < record.retry_at:
            return [Refuse(ticket, refusals.failed(record, now))]
        if len(record.queue) >= record.policy.queue_size and not self._would_begin(record, now):
            return [Refuse(ticket, refusals.queue_full(record))]
        ticket.queued_at = now
        ticket.deadline = now + record.policy.wait_seconds
        record.queue.append(ticket)
        ticket.position = len(record.queue)
        effects = self._advance(now)
        if ticket.run:
            ticket.position = 0
        return effects

    def cancel(self, ticket: Ticket, now: float) -> list[Effect]:
        """Cancel a ticket that waits or has been granted; one that was refused or is done is ignored."""
        record = self._records.get(ticket.model)
        if record is None:
            return []
        if ticket.run:
            return self.release(ticket, now)
        if ticket in record.queue:
            record.queue.remove(ticket)
        return self._advance(now)

    def release(self, ticket: Ticket, now: float) -> list[Effect]:
        """End the turn of a granted ticket."""
        record = self._records.get(ticket.model)
        if record is None or ticket.run != record.run or not ticket.run or not record.in_flight:
            return []
        ticket.run = 0
        record.in_flight -= 1
        record.last_used = now
        if record.in_flight and not record.queue:
            return []
        idle_until = record.idle_until
        if not self._is_uncontended or record.queue or record.is_outdated or record.is_removed or idle_until <= now:
            return self._advance(now)
        self._timer = min(self._timer, idle_until)
        return []

    # Requests of people and of the registry.

    def request_load(self, name: str, now: float) -> list[Effect]:
        """Load a model without a waiting request; one that failed is retried now."""
        record = self._records[name]
        if record.phase is not Phase.READY and record.load_reason is not LoadReason.REQUESTED:
            record.want(LoadReason.REQUESTED, now)
        record.retry_at, record.has_failed = 0.0, False
        return self._advance(now)

    def unload(self, name: str, now: float, *, force: bool) -> list[Effect]:
        """Stop the worker of a model, pinned or not.

        Raises:
            ModelBusy: it has requests, at work or waiting, and ``force`` is not given.
        """
        record = self._records[name]
        if (record.in_flight or record.queue) and not force:
            raise ModelBusy(
                f"{name} has {counted(record.in_flight, 'request')} at work and {len(record.queue)} waiting. "
                "Try again later, or end them with force.",
                model=name,
                in_flight=record.in_flight,
                queue_length=len(record.queue),
            )
        self._cancel_load(record, refusals.unloaded(record))
        self._refuse_all(record, lambda: refusals.unloaded(record))
        if record.phase in (Phase.READY, Phase.LOADING, Phase.FETCHING):
            self._stop(record, "forced" if force and record.in_flight else "asked", now)
        return self._advance(now)

    def keep(self, name: str, seconds: float | None, now: float) -> list[Effect]:
        """Unload the present worker of a model once it is idle for ``seconds`` from now; infinite: never for that.

        Until the worker ends, this takes the place of what the policy says; a pinned model stays. With ``None``, what
        was said before holds, and counts from now. Without a worker there is nothing to keep.
        """
        record = self._records.get(name)
        if record is None or record.phase not in (Phase.READY, Phase.LOADING, Phase.FETCHING):
            return []
        record.kept_seconds = record.kept_seconds if seconds is None else seconds
        record.last_used = now
        return self._advance(now)

    def set_need(self, name: str, need: Bytes | None) -> None:
        """Set what a model needs when it is loaded next; ``None``: its files are inspected again."""
        record = self._records[name]
        record.need, record.has_shrunk = need, False

    def reload(self, name: str, need: Bytes | None, now: float, *, force: bool) -> list[Effect]:
        """Load a model, loaded or not, with another configuration, with which it needs ``need``.

        Requests in flight finish first, or are ended by ``force``; waiting ones go on waiting. If it fails, the model
        is what it was: :class:`ReloadFinished` says which.
        """
        record = self._records[name]
        if record.rollback is None:
            is_there = record.phase in (Phase.READY, Phase.LOADING, Phase.FETCHING)
            record.rollback = Rollback(
                need=record.need, has_shrunk=record.has_shrunk, will_restart=is_there or record.is_wanted
            )
        record.forget_attempts(need)
        record.want(LoadReason.REQUESTED, now)
        record.is_outdated = record.phase is not Phase.UNLOADED
        if force and record.phase is Phase.READY and record.in_flight:
            self._stop(record, "forced", now)
        return self._advance(now)

    def refuse_waiting(self, error: Callable[[], ModelhostError]) -> list[Effect]:
        """Refuse all waiting requests: the host is being stopped."""
        for record in self._records.values():
            record.load_reason = None
            self._refuse_all(record, error)
        return self._take_effects(self._records.values())

    # What happens to workers, and the time.

    def report(self, name: str, run: int, report: Report, now: float) -> list[Effect]:
        """Apply a report of the worker, or of the search for files, that has the number ``run``."""
        record = self._records.get(name)
        if record is None or record.run != run or record.phase not in report.phases:
            return []
        effects = report.apply(record, now)
        if effects is None:
            return []
        self._effects += effects
        return self._advance(now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due by now: end waits, unload idle models, retry failed ones."""
        return self._advance(now)

    # Inside.

    def _advance(self, now: float) -> list[Effect]:
        self._forget_removed()
        records = [record for record in self._records.values() if not record.is_at_rest]
        for record in records:
            self._expire(record, now)
            self._grant(record, now)
            self._stop_if_done(record, now)
        self._place(records, now)
        self._timer = min((record.due() for record in records), default=NEVER)
        return self._take_effects(records)

    def _take_effects(self, records: Iterable[ModelRecord]) -> list[Effect]:
        for record in records:
            if record.announced != (announcement := record.announcement):
                record.announced = announcement
                self._effects.append(StateChanged(record.name))
        effects, self._effects = self._effects, []
        return effects

    def _forget_removed(self) -> None:
        for record in [
            record for record in self._records.values() if record.is_removed and record.phase is Phase.UNLOADED
        ]:
            del self._records[record.name]
            self._effects.append(ModelRemoved(record.name))

    def _expire(self, record: ModelRecord, now: float) -> None:
        if record.retry_at and now >= record.retry_at:
            record.retry_at = 0.0
        if record.queue:
            overdue = record.overdue(now)
            self._effects += [Refuse(ticket, refusals.timed_out(record, ticket, place)) for place, ticket in overdue]
            for _, ticket in overdue:
                record.queue.remove(ticket)

    def _grant(self, record: ModelRecord, now: float) -> None:
        while record.queue and self._would_begin(record, now):
            ticket = record.queue.popleft()
            ticket.run = record.run
            record.in_flight += 1
            record.last_used = now
            if record.burst is not None:
                record.burst = replace(record.burst, begun=record.burst.begun + 1)
            self._effects.append(Grant(ticket))

    def _would_begin(self, record: ModelRecord, now: float) -> bool:
        return (
            record.phase is Phase.READY
            and record.in_flight < record.policy.max_in_flight
            and not record.is_removed
            and not record.is_draining
            and may_start_request(record.burst, self.bursts, now)
        )

    def _stop_if_done(self, record: ModelRecord, now: float) -> None:
        """Stop a worker that is idle and has no reason to stay loaded."""
        if record.phase is Phase.READY and not record.in_flight:
            if record.is_outdated or record.is_removed:
                self._replace(record, now)
            elif not record.queue and now >= record.idle_until:
                self._stop(record, "idle", now)
        elif (record.is_outdated or record.is_removed) and record.phase in (Phase.LOADING, Phase.FETCHING):
            self._replace(record, now)

    def _replace(self, record: ModelRecord, now: float) -> None:
        if (record.policy.is_pinned or record.will_restart) and record.rollback is None and not record.is_removed:
            record.want(LoadReason.REQUESTED if record.policy.is_pinned else LoadReason.RESTART, now)
        self._stop(record, "changed", now)

    def _place(self, records: list[ModelRecord], now: float) -> None:
        decided = place(records, self.occupancy.budget, self._next_model, now)
        self._next_model = decided.next_model
        self._is_uncontended = decided.next_model is None and not decided.is_over
        for record in decided.abandoned_restarts:
            record.load_reason = None
        tried = [record for record, _ in decided.impossible if record.rollback is not None]
        for record, shortage in decided.impossible:
            self._refuse_impossible(record, shortage, now)
        for record in decided.evict:
            record.evictions += 1
            self._stop(record, "evicted", now)
        for record in decided.load:
            self._start(record, now)
        for record in decided.fetch:
            self._fetch(record, now)
        self._update_bursts(records, decided.yielding, now)
        if tried:
            self._place(records, now)  # with the configurations that they had before

    def _update_bursts(self, records: list[ModelRecord], yielding: list[ModelRecord], now: float) -> None:
        """Begin or end bursts. Models that yield together have begun their bursts together.

        A model whose entry has changed yields to itself.
        """
        since = min((record.burst.since for record in yielding if record.burst is not None), default=now)
        for record in records:
            if record.phase is Phase.READY and (record in yielding or record.is_outdated):
                record.burst = record.burst or Burst(since=max(since, record.began_at))
            elif record.burst is not None:
                record.burst = None
                self._grant(record, now)

    def _refuse_impossible(self, record: ModelRecord, shortage: Plan, now: float) -> None:
        def error() -> InsufficientMemory:
            return self.occupancy.insufficient(record, shortage, record.need or {})

        if record.rollback is not None:
            self._effects.append(roll_back(record, error(), now))
            return
        record.load_reason, record.last_error = None, error()
        self._refuse_all(record, error)

    def _cancel_load(self, record: ModelRecord, error: ModelhostError) -> None:
        """Cancel the load of a model, and restore the configuration that it had."""
        record.load_reason = None
        if record.rollback is not None:
            record.restore()
            self._effects.append(ReloadFinished(record.name, error))

    def _refuse_all(self, record: ModelRecord, error: Callable[[], ModelhostError]) -> None:
        self._effects += [Refuse(ticket, error()) for ticket in record.take_queue()]

    def _fetch(self, record: ModelRecord, now: float) -> None:
        record.run, record.has_failed = next(self._runs), False
        record.enter(Phase.FETCHING, now)
        self._effects.append(Fetch(record.name, record.run))

    def _start(self, record: ModelRecord, now: float) -> None:
        record.run, record.has_failed = next(self._runs), False
        record.has_worker, record.charge = True, record.need or {}
        record.enter(Phase.LOADING, now)
        self._effects.append(Load(record.name, record.run, record.has_shrunk))

    def _stop(self, record: ModelRecord, reason: StopReason, now: float) -> None:
        if record.phase is Phase.READY:
            record.backoff.survived(now - record.began_at)
        record.enter(Phase.STOPPING, now)
        record.in_flight = 0
        self._effects.append(Stop(record.name, record.run, reason))

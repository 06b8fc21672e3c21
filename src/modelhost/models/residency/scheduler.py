"""The scheduler: the one owner of the ledger. It tells the ledger what happens and does what the ledger answers.

Everything that changes state is a synchronous method on the event loop: the ledger is told, and its effects are carried
out, before anything else runs. What takes time is the keeper's, which comes back with news for the ledger. A message
to a task of its own would cost each request two turns of the loop for nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from modelhost.engines.load_config import LoadConfig
from modelhost.feed import Feed, Listener
from modelhost.logs import get_logger
from modelhost.models.files.memory_pools import Bytes, memory_in, without_gpus
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.residency import refusals
from modelhost.models.residency.decision_log import log_decision, log_wait
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
)
from modelhost.models.residency.hosted import HostedModel, Reload
from modelhost.models.residency.ledger import Ledger
from modelhost.models.residency.previews import no_room
from modelhost.models.residency.record import NEVER, ModelRecord, Phase, Ticket
from modelhost.models.residency.reloads import Reloads
from modelhost.models.residency.status import SHOWN_OPTIONS, LoadEstimate, ModelEvent, ModelStatus, State, Unloaded
from modelhost.models.residency.supervisor import SupervisorPorts, WorkerSupervisor
from modelhost.models.resolve.resolved import Resolved
from modelhost.rounds import guarded
from modelhost.workers.worker import Worker

log = get_logger(__name__)

OnQueued = Callable[[int], None]
"""Told the place in the queue, from 1, when a request has to wait."""

SECONDS_TO_LOOK_UP = 2.0
"""For which asking for a load waits to tell what it needs; files that have to be downloaded take longer."""
PROGRESS_STEP = 0.01


class Scheduler:
    """Holds all models of a host, loads and unloads them, and lends their workers out, one lease per turn."""

    def __init__(self, ledger: Ledger, ports: SupervisorPorts | None = None) -> None:
        self.ledger = ledger
        self.feed: Feed[ModelEvent] = Feed()
        self.models: dict[str, HostedModel] = {}
        self.names: dict[str, HostedModel] = {}
        """By name and alias; not those that are being removed."""
        self._loop = asyncio.get_running_loop()
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._is_stopping = False
        ports = ports or SupervisorPorts()
        self._reloads = Reloads(ledger, self.models, self._act, ports.find, ports.is_current)
        self._supervisor = WorkerSupervisor(ledger, self._act, self._report_progress, ports)
        self._supervisor.monitor(self.models)

    @property
    def awaited_models(self) -> frozenset[str]:
        """The models of which somebody waits for a change: until one is loaded, unloaded, or has failed."""
        return frozenset(self._waiters)

    # The models.

    def add(self, entry: ModelEntry, resolved: Resolved | None = None) -> HostedModel:
        """Take a model in, or change the one of that name. ``resolved``: what has been found of it already."""
        old = self.models.get(entry.name)
        if old is not None:
            self._change(old, entry)
            return old
        model = HostedModel(entry)
        model.resolved = model.plain = resolved
        self.models[entry.name] = model
        self._name(model)
        need = resolved.charge if resolved else None
        self._act(self.ledger.add(entry.name, model.policy, need))
        self._keep_pinned(model)
        return model

    def remove(self, name: str) -> None:
        """Let a model go: nobody finds it any more, and its last request ends it."""
        model = self.models[name]
        self.names = {known: other for known, other in self.names.items() if other is not model}
        self._act(self.ledger.remove(name, self._now()))

    def _change(self, model: HostedModel, entry: ModelEntry) -> None:
        is_outdated = model.needs_new_worker(entry)
        self.names = {known: other for known, other in self.names.items() if other is not model}
        model.entry = entry
        self._name(model)
        if is_outdated:
            model.preview = None
            self._reloads.forget(model)
        self._act(self.ledger.change(entry.name, model.policy, self._now(), is_outdated=is_outdated))
        self._keep_pinned(model)

    def _name(self, model: HostedModel) -> None:
        self.names.update(dict.fromkeys((model.name, *model.aliases), model))

    def _keep_pinned(self, model: HostedModel) -> None:
        if model.entry.is_pinned:
            self.request_load(model)

    # Leases.

    @asynccontextmanager
    async def lease(self, model: HostedModel, on_queued: OnQueued | None = None) -> AsyncIterator[Worker]:
        """Lend the model's worker out for one turn, waiting for it if need be.

        Raises:
            QueueFull: as many requests as may wait are waiting.
            QueueTimeout: the wait was longer than allowed.
            ModelFailed, InsufficientMemory: it cannot be loaded.
            ModelUnloaded, ModelNotFound: it was unloaded by force or removed meanwhile.
            ShuttingDown: the host is being stopped.
        """
        if self._is_stopping:
            raise refusals.shutting_down()
        ticket = Ticket(model=model.name)
        if self.ledger.grant_immediately(ticket, self._loop.time()):
            worker = model.worker
            assert worker is not None
        else:
            worker = await self._wait(model, ticket, on_queued)
        self._count(model)
        try:
            yield worker
        finally:
            self._give_back(model, ticket)

    @contextmanager
    def lease_if_ready(self, model: HostedModel) -> Iterator[Worker | None]:
        """As :meth:`lease`, for work that is not worth a wait: ``None`` if the worker cannot be had at once."""
        ticket = Ticket(model=model.name)
        can_begin = model.name in self.ledger.records and not self._is_stopping
        if not can_begin or not self.ledger.grant_immediately(ticket, self._loop.time()):
            yield None
            return
        try:
            yield model.worker
        finally:
            self._give_back(model, ticket)

    async def _wait(self, model: HostedModel, ticket: Ticket, on_queued: OnQueued | None) -> Worker:
        place: asyncio.Future[Worker] = self._loop.create_future()
        ticket.place = place
        began = self._now()
        self._act(self.ledger.request(ticket, began))
        if place.done():
            return place.result()
        log_wait(ticket, self.ledger)
        if on_queued is not None:
            on_queued(ticket.position)
        model.meters.queue_length.inc()
        try:
            return await place
        except asyncio.CancelledError:
            self._act(self.ledger.cancel(ticket, self._now()))
            if place.done() and not place.cancelled():
                place.exception()  # it was answered in the moment it left: that is no news for anyone
            raise
        finally:
            model.meters.queue_length.dec()
            model.meters.queue_seconds.observe(self._now() - began)

    def _give_back(self, model: HostedModel, ticket: Ticket) -> None:
        effects = self.ledger.release(ticket, self._loop.time())
        self._count(model)
        if effects or model.entry.idle_unload_seconds is not None or self._is_stopping:
            self._act(effects)

    def _count(self, model: HostedModel) -> None:
        record = self.ledger.records.get(model.name)
        in_flight = record.in_flight if record else 0
        model.meters.in_flight.set(in_flight)
        model.meters.slots_in_use.set(min(in_flight, model.slots or 1))

    # What people ask for.

    def request_load(self, model: HostedModel) -> None:
        """Have a model loaded, and do not wait for it."""
        self._act(self.ledger.request_load(model.name, self._now()))

    async def load(self, model: HostedModel, *, wait: bool = False) -> LoadEstimate:
        """Have a model loaded as it is. Returns at once with an estimate, or with ``wait`` when it is ready.

        Raises:
            InsufficientMemory: it cannot fit.
            ModelhostError: with ``wait``, why it could not be loaded; without, why its files cannot be used.
        """
        if self._is_stopping:
            raise refusals.shutting_down()
        self.request_load(model)
        return await self._on_its_way(model, model.reload, wait=wait)

    async def load_with(
        self, model: HostedModel, config: LoadConfig, *, persists: bool = False, force: bool = False, wait: bool = False
    ) -> LoadEstimate:
        """As :meth:`load`, with ``config`` over what its entry says; one that is loaded otherwise is loaded anew.

        Its requests at work end first, unless ``force`` cuts them off; those that wait get the new worker. The next
        load without a configuration, and the next one after the worker has gone, has the earlier one again, unless
        ``persists``.

        Raises:
            InvalidRequest, UnsupportedParameter: the model or its engine cannot be so; it stays as it is.
            ModelhostError: as :meth:`load`. It has its earlier configuration again, and is loaded with it if it was.
        """
        if self._is_stopping:
            raise refusals.shutting_down()
        reload = await self._reloads.begin(model, config, persists=persists, force=force)
        if reload is None:
            self.request_load(model)
        return await self._on_its_way(model, reload, wait=wait)

    async def _on_its_way(self, model: HostedModel, reload: Reload | None, *, wait: bool) -> LoadEstimate:
        record = self.ledger.record(model.name)
        if wait:
            await self._until_settled(model, record, reload)
            await self._until_loaded(model, record)
        else:
            await self._until_looked_up(model, record)
            refusal = reload.error if reload is not None and reload.error is not None else record.refusal
            if refusal is not None:
                raise refusal
        return LoadEstimate(
            model=model.name,
            state=record.state,
            estimated_seconds=model.estimated_load_seconds,
            need_bytes=_memory(record.need),
            position=self.ledger.queue_position(model.name),
        )

    async def _until_settled(self, model: HostedModel, record: ModelRecord, reload: Reload | None) -> None:
        while reload is not None and not reload.is_over:
            self._check_goes_on(model, record)
            await self._change_of(model)
        if reload is not None and reload.error is not None:
            raise reload.error

    def _check_goes_on(self, model: HostedModel, record: ModelRecord) -> None:
        if self._is_stopping:
            raise refusals.shutting_down()
        if self.ledger.records.get(model.name) is not record:
            raise refusals.removed(model.name)

    async def _until_loaded(self, model: HostedModel, record: ModelRecord) -> None:
        while record.state not in (State.READY, State.BUSY):
            self._check_goes_on(model, record)
            if record.has_failed:
                assert record.last_error is not None
                raise record.last_error
            if record.phase is Phase.UNLOADED and not record.retry_at and not record.is_wanted:
                raise record.last_error or refusals.unloaded(record)
            await self._change_of(model)

    async def _until_looked_up(self, model: HostedModel, record: ModelRecord) -> None:
        try:
            async with asyncio.timeout(SECONDS_TO_LOOK_UP):
                while record.phase is Phase.FETCHING and not self._is_stopping:
                    await self._change_of(model)
        except TimeoutError:
            return  # it is being downloaded: what it needs is not known yet

    async def unload(self, model: HostedModel, *, force: bool = False) -> Unloaded:
        """End the worker of a model and return when its memory is back.

        Raises:
            ModelBusy: it has requests, and ``force`` is not given.
        """
        record = self.ledger.record(model.name)
        is_loaded = record.phase in (Phase.READY, Phase.STOPPING)
        self._act(self.ledger.unload(model.name, self._now(), force=force))
        while record.phase is Phase.STOPPING:
            await self._change_of(model)
        return Unloaded(model=model.name, freed_bytes=(model.memory or {}) if is_loaded else {})

    async def _change_of(self, model: HostedModel) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        waiters = self._waiters.setdefault(model.name, set())
        waiters.add(future)
        try:
            await future
        finally:
            waiters.discard(future)
            if not waiters and self._waiters.get(model.name) is waiters:
                del self._waiters[model.name]

    # What it says of itself.

    def status(self, model: HostedModel) -> ModelStatus:
        """Return what can be said of a model now."""
        record = self.ledger.record(model.name)
        is_loading = record.state is State.LOADING
        since_boot = time.time() - self._now()
        need = _need(model, record)
        pace = model.pace.throughput(time.perf_counter())
        return ModelStatus(
            name=model.name,
            aliases=model.aliases,
            engine=model.engine.name,
            state=record.state,
            activity=record.activity,
            progress=model.progress if is_loading else None,
            need_bytes=_memory(need),
            memory_bytes=model.memory if model.worker is not None else None,
            size_bytes=model.known.size_bytes if model.known else None,
            context_length=model.context_length,
            max_tokens=model.max_tokens,
            slots=model.slots,
            in_flight=record.in_flight,
            queue_length=len(record.queue),
            oldest_wait_seconds=self._now() - record.queue[0].queued_at if record.queue else None,
            last_error=error.message if (error := record.last_error or model.reload_error) else None,
            obstacle=self._obstacle(model, record, need),
            tokens_per_second=pace.tokens_per_second,
            latency_seconds=pace.latency_seconds,
            loads=record.loads,
            evictions=record.evictions,
            is_pinned=record.policy.is_pinned,
            idle_unload_seconds=record.policy.idle_unload_seconds,
            loaded_at=model.loaded_at if model.worker is not None else None,
            last_used_at=record.last_used + since_boot if record.last_used else None,
            operations=model.operations,
            sees_images=model.sees_images,
            engine_version=model.engine_version,
            dtype=model.dtype,
            quantization=model.quantization,
            engine_options={name: value for name, value in model.options.items() if name in SHOWN_OPTIONS},
            load_config=model.load_config,
            is_config_temporary=model.is_config_temporary,
            defaults=model.defaults,
            notes=model.entry.notes,
            adapters=model.adapter_names,
        )

    def _obstacle(self, model: HostedModel, record: ModelRecord, need: Bytes | None) -> str | None:
        if record.state is not State.UNLOADED:
            return None
        error = model.preview.error if model.preview else None
        if error is None and need is not None:
            is_fitted = model.known is not None and model.known.is_fitted_to_gpus
            error = no_room(record, without_gpus(need) if is_fitted else need, self.ledger)
        return error.message if error else None

    @asynccontextmanager
    async def events(self) -> AsyncIterator[Listener[ModelEvent]]:
        """News of the models as long as the context is entered; first the present state of each."""
        listener = self.feed.listen([self._event(model, "state") for model in self.models.values()])
        if self._is_stopping:
            listener.close()
        try:
            yield listener
        finally:
            self.feed.leave(listener)

    # The end.

    async def stop(self, drain_seconds: float) -> None:
        """Refuse who waits, give the requests at work ``drain_seconds`` to finish, end all workers."""
        self._is_stopping = True
        self._act(self.ledger.refuse_waiting(refusals.shutting_down))
        try:
            async with asyncio.timeout(drain_seconds):
                for model in list(self.models.values()):  # one that was removed goes with its last request
                    while self._is_at_work(model):
                        await self._change_of(model)
        except TimeoutError:
            log.warning("drain_timed_out", in_flight=sum(record.in_flight for record in self.ledger.records.values()))
        if self._timer is not None:
            self._timer.cancel()
        self.feed.close()
        await self._supervisor.close(self.models.values())
        for model in self.models.values():
            model.meters.model_ready.set(0)

    def _is_at_work(self, model: HostedModel) -> bool:
        record = self.ledger.records.get(model.name)
        return record is not None and record.in_flight > 0

    # Acting on what the ledger decides.

    def _now(self) -> float:
        return self._loop.time()

    def _act(self, effects: Iterable[Effect]) -> None:
        pending = deque(effects)
        while pending:
            effect = pending.popleft()
            with guarded("acting on the ledger", effect=type(effect).__name__):
                pending.extend(self._do(effect))
        self._arm()
        if self._is_stopping:
            for name in list(self._waiters):
                self._wake(name)

    def _do(self, effect: Effect) -> Iterable[Effect]:
        """Carry out one effect; what it leads to at once is returned."""
        log_decision(effect, self.ledger)
        match effect:
            case Grant(ticket):
                return self._grant(ticket)
            case Refuse(ticket, error):
                if not ticket.place.done():
                    ticket.place.set_exception(error)
            case Fetch(name) | Load(name):
                if not self._is_stopping:
                    self._supervisor.begin(self.models[name], effect)
            case Stop(name):
                self._reloads.stopping(self.models[name], effect)
                self._supervisor.end(self.models[name], effect)
            case ReloadFinished(name):
                self._settle(self.models[name], effect)
            case StateChanged(name):
                self._announce(name)
            case ModelRemoved(name):
                self._forget(name)
        return ()

    def _grant(self, ticket: Ticket) -> Iterable[Effect]:
        if ticket.place.done():
            return self.ledger.cancel(ticket, self._now())
        ticket.place.set_result(self.models[ticket.model].worker)
        return ()

    def _settle(self, model: HostedModel, settled: ReloadFinished) -> None:
        self._reloads.settle(model, settled)
        if settled.error is not None and settled.has_failed:
            event = ModelEvent(at=time.time(), kind="reload_failed", model=model.name, message=settled.error.message)
            model.record_event(event)
            self.feed.tell(event)
        self._wake(model.name)

    # Telling.

    def _announce(self, name: str) -> None:
        model, record = self.models.get(name), self.ledger.records.get(name)
        if model is None or record is None:
            return
        model.meters.model_ready.set(1 if record.phase is Phase.READY else 0)
        event = self._event(model, "state")
        model.record_event(event)
        self.feed.tell(event)
        self._wake(name)

    def _report_progress(self, model: HostedModel, run: int, fraction: float) -> None:
        record = self.ledger.records.get(model.name)
        if record is None or record.run != run or record.state is not State.LOADING:
            return
        is_step = model.progress is None or abs(fraction - model.progress) >= PROGRESS_STEP or fraction >= 1
        if is_step:
            model.progress = fraction
            if self.feed.has_listeners:
                self.feed.tell(self._event(model, "progress"))

    def _event(self, model: HostedModel, kind: Any) -> ModelEvent:
        record = self.ledger.record(model.name)
        state, activity = record.announcement
        return ModelEvent(
            at=time.time(),
            kind=kind,
            model=model.name,
            state=state,
            activity=activity,
            progress=model.progress if state is State.LOADING else None,
            message=record.last_error.message if record.last_error and state is State.FAILED else None,
        )

    def _forget(self, name: str) -> None:
        del self.models[name]
        self.feed.tell(ModelEvent(at=time.time(), kind="removed", model=name))
        self._wake(name)

    def _wake(self, name: str) -> None:
        for future in self._waiters.pop(name, ()):
            if not future.done():
                future.set_result(None)

    # Time.

    def _arm(self) -> None:
        """Have the ledger's next timer come, if it is before the one that is set; a timer too early does no harm."""
        when = self.ledger.next_timer()
        if self._timer is not None and self._timer_at <= when and self._timer_at > self._now():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, NEVER
        if when < NEVER and not self._is_stopping:
            self._timer, self._timer_at = self._loop.call_at(when, self._tick), when

    def _tick(self) -> None:
        self._timer, self._timer_at = None, NEVER
        with guarded("waking the ledger"):
            self._act(self.ledger.tick(self._now()))


def _need(model: HostedModel, record: ModelRecord) -> Bytes | None:
    """What it takes, or will take as its files are now."""
    if model.preview is None or model.worker is not None:
        return record.need
    return model.preview.resolved.charge if model.preview.resolved else None


def _memory(need: Bytes | None) -> Bytes | None:
    return None if need is None else memory_in(need)

"""The scheduler: the one owner of the ledger and of the models' state. It carries out what the ledger decides.

Everything that changes state is a synchronous method on the event loop: the ledger is called, and the effects that it
returns are carried out, before anything else runs. What takes time is the supervisor's, which reports back. A message
to a task of its own would cost each request two turns of the loop for nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from modelhost.background import Alarm, log_failures
from modelhost.engines.load_config import LoadConfig
from modelhost.errors import ModelhostError
from modelhost.events import Subscription
from modelhost.logs import get_logger
from modelhost.models.files.memory_pools import Bytes
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.residency import refusals, reports
from modelhost.models.residency.changes import PROGRESS_STEP, ModelChanges, NoRecorder, WorkerRecorder
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
from modelhost.models.residency.hosted import HostedModel, Preview
from modelhost.models.residency.lease import Lease, OnQueued, waiting
from modelhost.models.residency.ledger import Ledger
from modelhost.models.residency.placement import describe
from modelhost.models.residency.record import Phase, Ticket
from modelhost.models.residency.reloads import Reloads
from modelhost.models.residency.status import LoadEstimate, ModelEvent, ModelStatus, State, Unloaded
from modelhost.models.residency.supervisor import SupervisorPorts, WorkerSupervisor
from modelhost.models.residency.waits import LoadWaits
from modelhost.models.resolve.configuration import ConfiguredModel
from modelhost.models.resolve.resolved import LayerLimit, Resolved
from modelhost.monitor import measure
from modelhost.workers.worker import Worker

log = get_logger(__name__)


class Scheduler:
    """Holds all models of a host, loads and unloads them, and lends their workers out, one lease per turn."""

    def __init__(
        self, ledger: Ledger, ports: SupervisorPorts | None = None, recorder: Callable[[], WorkerRecorder] = NoRecorder
    ) -> None:
        self.ledger = ledger
        self.changes = ModelChanges(ledger.records, recorder)
        self._load_waits = LoadWaits(ledger, self.changes)
        self.models: dict[str, HostedModel] = {}
        self.names: dict[str, HostedModel] = {}
        """By name and alias; not those that are being removed."""
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._tick)
        self._is_stopping = False
        ports = ports or SupervisorPorts()
        self._reloads = Reloads(ledger, self.models, self._act, ports.find, ports.is_current)
        self._supervisor = WorkerSupervisor(ledger, self, ports)
        self._supervisor.monitor(self.models)

    # The models.

    def add(self, entry: ModelEntry, resolved: Resolved | None = None, *, is_loaded_next: bool = False) -> HostedModel:
        """Add a model, or change the one of that name. ``resolved``: what is known of its files already.

        ``is_loaded_next``: it is loaded at once, and its files need not be looked up again for that.
        """
        old = self.models.get(entry.name)
        if old is not None:
            self._change(old, entry)
            return old
        model = HostedModel(entry)
        model.resolved = model.plain = resolved
        model.is_just_found = is_loaded_next
        self.models[entry.name] = model
        self._name(model)
        need = resolved.charge if resolved else None
        has_context = resolved is None or resolved.has_context
        self._act(self.ledger.add(entry.name, model.policy, need, has_context=has_context))
        self._keep_pinned(model)
        return model

    def remove(self, name: str) -> None:
        """Remove a model: it is no longer found, and is gone after its last request."""
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

    def set_overrides(self, model: HostedModel, values: Mapping[str, Any]) -> None:
        """Lay ``values`` over the request defaults of a model's entry, in the place of all earlier ones."""
        model.overrides = values

    def set_preview(self, model: HostedModel, preview: Preview) -> None:
        """Note what the files of a model that is not loaded have shown."""
        model.preview = preview

    # Leases.

    def lease(self, model: HostedModel, on_queued: OnQueued | None = None) -> AbstractAsyncContextManager[Worker]:
        """Lend the model's worker out for one turn, waiting for it if necessary.

        Raises:
            QueueFull: as many requests as may wait are waiting.
            QueueTimeout: the wait was longer than allowed.
            ModelFailed, InsufficientMemory: it cannot be loaded.
            ModelUnloaded, ModelNotFound: it was unloaded by force or removed meanwhile.
            ShuttingDown: the host is being stopped.
        """
        return Lease(self._lend, self._give_back, model, on_queued)

    async def _lend(self, model: HostedModel, on_queued: OnQueued | None) -> tuple[Worker, Ticket]:
        worker, ticket = await self._granted(model, on_queued)
        while not worker.process.is_running:
            # It has died and its watcher does not know yet: this request was never sent to it, and can wait.
            self._give_back(model, ticket)
            await worker.process.wait()
            await asyncio.sleep(0)
            worker, ticket = await self._granted(model, on_queued)
        self._count(model)
        return worker, ticket

    async def _granted(self, model: HostedModel, on_queued: OnQueued | None) -> tuple[Worker, Ticket]:
        if self._is_stopping:
            raise refusals.shutting_down()
        ticket = Ticket(model=model.name)
        if self.ledger.grant_immediately(ticket, self._loop.time()):
            worker = model.worker
            assert worker is not None
            return worker, ticket
        return await self._wait(model, ticket, on_queued), ticket

    @contextmanager
    def lease_if_ready(self, model: HostedModel) -> Iterator[Worker | None]:
        """As :meth:`lease`, for work that is not worth a wait: ``None`` if the worker is not available at once."""
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
        waiter: asyncio.Future[Worker] = self._loop.create_future()
        ticket.waiter = waiter
        began = self._now()
        self._act(self.ledger.request(ticket, began))
        if waiter.done():
            return waiter.result()
        log_wait(ticket, self.ledger)
        if on_queued is not None:
            on_queued(ticket.position)
        model.meters.queue_length.inc()
        try:
            with waiting(model, ticket.position):
                return await waiter
        except asyncio.CancelledError:
            self._act(self.ledger.cancel(ticket, self._now()))
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # it was answered in the moment it left: that is no news for anyone
            raise
        finally:
            model.meters.queue_length.dec()
            seconds = self._now() - began
            model.meters.queue_seconds.observe(seconds)
            measure.waited(seconds)

    def _give_back(self, model: HostedModel, ticket: Ticket) -> None:
        effects = self.ledger.release(ticket, self._loop.time())
        self._count(model)
        if effects or self._is_stopping or self._has_idle_limit(model):
            self._act(effects)

    def _has_idle_limit(self, model: HostedModel) -> bool:
        record = self.ledger.records.get(model.name)
        return record is not None and record.idle_seconds is not None

    def _count(self, model: HostedModel) -> None:
        record = self.ledger.records.get(model.name)
        in_flight = record.in_flight if record else 0
        model.meters.in_flight.set(in_flight)
        model.meters.slots_in_use.set(min(in_flight, model.slots or 1))

    # What people ask for.

    def request_load(self, model: HostedModel) -> None:
        """Request the load of a model without waiting for it."""
        self._act(self.ledger.request_load(model.name, self._now()))

    async def load(self, model: HostedModel, *, wait: bool = False) -> LoadEstimate:
        """Load a model as it is configured. Returns at once with an estimate, or with ``wait`` when it is ready.

        Raises:
            InsufficientMemory: it cannot fit.
            ModelhostError: with ``wait``, why it could not be loaded; without, why its files cannot be used.
        """
        if self._is_stopping:
            raise refusals.shutting_down()
        self.request_load(model)
        return await self._load_waits.estimate(model, model.reload, wait=wait)

    async def load_with(
        self, model: HostedModel, config: LoadConfig, *, persists: bool = False, force: bool = False, wait: bool = False
    ) -> LoadEstimate:
        """As :meth:`load`, with ``config`` over what its entry says; one that is loaded differently is reloaded.

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
        return await self._load_waits.estimate(model, reload, wait=wait)

    async def unload(self, model: HostedModel, *, force: bool = False) -> Unloaded:
        """End the worker of a model and return when its memory is back.

        Raises:
            ModelBusy: it has requests, and ``force`` is not given.
        """
        record = self.ledger.record(model.name)
        is_loaded = record.phase in (Phase.READY, Phase.STOPPING)
        self._act(self.ledger.unload(model.name, self._now(), force=force))
        while record.phase is Phase.STOPPING:
            await self.changes.next_of(model)
        return Unloaded(model=model.name, freed_bytes=(model.memory or {}) if is_loaded else {})

    def keep(self, model: HostedModel, seconds: float | None) -> None:
        """Have the present worker of a model unloaded once it is idle for ``seconds`` from now; infinite: never.

        ``None``: for as long as was said before.
        """
        self._act(self.ledger.keep(model.name, seconds, self._now()))

    # What it says of itself.

    def status(self, model: HostedModel) -> ModelStatus:
        return describe(model, self.ledger.record(model.name), self.ledger.occupancy, self._now())

    def events(self) -> AbstractAsyncContextManager[Subscription[ModelEvent]]:
        """Events of the models as long as the context is entered, beginning with the state of each."""
        return self.changes.subscribed(self.models)

    # The end.

    async def stop(self, drain_seconds: float) -> None:
        """Refuse waiting requests, give those in flight ``drain_seconds`` to finish, end all workers."""
        self._is_stopping = self._load_waits.is_stopping = True
        self._act(self.ledger.refuse_waiting(refusals.shutting_down))
        try:
            async with asyncio.timeout(drain_seconds):
                for model in list(self.models.values()):  # one that was removed goes with its last request
                    while self._is_at_work(model):
                        await self.changes.next_of(model)
        except TimeoutError:
            log.warning("drain_timed_out", in_flight=sum(record.in_flight for record in self.ledger.records.values()))
        self._alarm.cancel()
        self.changes.close()
        await self._supervisor.cancel()
        workers = [(model, model.detach_worker()) for model in self.models.values()]
        await self._supervisor.close((model, worker) for model, worker in workers if worker is not None)
        for model in self.models.values():
            model.meters.set_unloaded()

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
            with log_failures("acting on the ledger", effect=type(effect).__name__):
                pending.extend(self._do(effect))
        if not self._is_stopping:
            self._alarm.set(self.ledger.next_timer())
        else:
            self.changes.wake_all()

    def _do(self, effect: Effect) -> Iterable[Effect]:
        log_decision(effect, self.ledger)
        match effect:
            case Grant(ticket):
                return self._grant(ticket)
            case Refuse(ticket, error):
                self._refuse(ticket, error)
            case Fetch(name) | Load(name):
                if not self._is_stopping:
                    self._start(self.models[name], effect)
            case Stop(name):
                model = self.models[name]
                self._reloads.stopping(model, effect)
                self._supervisor.end(model, effect, model.detach_worker())
            case ReloadFinished(name):
                self._settle(self.models[name], effect)
            case StateChanged(name):
                self.changes.state_changed(self.models.get(name))
            case ModelRemoved(name):
                del self.models[name]
                self.changes.removed(name)
        return ()

    def _grant(self, ticket: Ticket) -> Iterable[Effect]:
        if ticket.waiter.done():
            return self.ledger.cancel(ticket, self._now())
        ticket.waiter.set_result(self.models[ticket.model].worker)
        return ()

    def _refuse(self, ticket: Ticket, error: ModelhostError) -> None:
        if not ticket.waiter.done():
            ticket.waiter.set_exception(error)

    def _start(self, model: HostedModel, effect: Fetch | Load) -> None:
        model.progress = None
        if isinstance(effect, Fetch):
            self._supervisor.find_files(model, effect.run)
            return
        is_checked, model.is_just_found = model.is_just_found, False
        self._supervisor.load(model, effect.run, is_smaller=effect.is_smaller, is_checked=is_checked)

    def _settle(self, model: HostedModel, settled: ReloadFinished) -> None:
        self._reloads.settle(model, settled)
        if settled.error is not None and settled.has_failed:
            self.changes.reload_failed(model, settled.error.message)
        self.changes.wake(model.name)

    # What the supervisor reports.

    def report(self, model: HostedModel, run: int, report: reports.Report) -> None:
        record = self.ledger.records.get(model.name)
        if isinstance(report, reports.LoadFailed) and record is not None and record.phase is Phase.LOADING:
            model.last_lines = tuple(report.error.details.get("stderr", ()))
        self._act(self.ledger.report(model.name, run, report, self._now()))

    def progressed(self, model: HostedModel, run: int, fraction: float) -> None:
        record = self.ledger.records.get(model.name)
        if record is None or record.run != run or record.state is not State.LOADING:
            return
        if model.progress is None or abs(fraction - model.progress) >= PROGRESS_STEP or fraction >= 1:
            model.progress = fraction
            self.changes.progressed(model)

    def files_found(self, model: HostedModel, run: int, found: ConfiguredModel) -> None:
        model.set_files(found)
        assert model.resolved is not None
        self.report(model, run, reports.FilesFound(model.resolved.charge, model.resolved.has_context))

    def layers_limited(self, model: HostedModel, run: int, limit: LayerLimit, error: ModelhostError) -> None:
        before = model.resolved
        assert before is not None
        model.last_lines = tuple(error.details.get("stderr", ()))
        resolved = model.limit_layers(limit)
        log.warning(
            "gpu_layers_reduced",
            model=model.name,
            gpu_layers=resolved.spec.gpu_layers,
            failed_with=before.spec.gpu_layers,
            need_bytes=dict(resolved.need_bytes),
            error=error.message,
        )
        self.report(model, run, reports.LoadCorrected(resolved.charge, error))

    def worker_ready(self, model: HostedModel, run: int, worker: Worker, seconds: float) -> None:
        model.attach_worker(worker, seconds)
        self.changes.loaded(model, seconds)
        self.report(model, run, reports.Loaded({}))

    def memory_measured(self, model: HostedModel, run: int, memory: Bytes) -> None:
        model.memory = memory
        model.meters.set_memory(memory)
        self.report(model, run, reports.MemoryMeasured(memory))

    def worker_exited(self, model: HostedModel, run: int, error: ModelhostError) -> None:
        model.detach_worker()
        self.changes.worker_exited(model)
        model.meters.set_memory({})
        self.report(model, run, reports.WorkerLost(error))

    def worker_stopped(self, model: HostedModel, stop: Stop, freed: Bytes | None) -> None:
        if freed is not None:
            model.memory = freed or model.memory
            model.meters.set_memory({})
            if stop.reason == "evicted":
                self.changes.evicted(model)
        self.report(model, stop.run, reports.WorkerStopped())

    def _tick(self) -> None:
        with log_failures("waking the ledger"):
            self._act(self.ledger.tick(self._now()))

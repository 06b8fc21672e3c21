"""Keeping workers: what takes time, as tasks that come back with news for the ledger.

Finding a model's files, starting its worker, noticing its end, measuring it and ending it: everything that the ledger
asks for and cannot wait for.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelhost.errors import ModelhostError, WorkerCrashed, WorkerStartFailed
from modelhost.logs import get_logger
from modelhost.models.residency.effects import Effect, Fetch, Load, Stop
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.ledger import Ledger
from modelhost.models.resolve.configuration import ConfigurationContext, Find, find_configured
from modelhost.models.resolve.finding import find, is_current
from modelhost.models.resolve.resolved import Resolved, add_advice, limit_after, within_limit
from modelhost.rounds import guarded
from modelhost.workers import endings
from modelhost.workers.launching import StartProcess, launch_worker, smaller
from modelhost.workers.process import WorkerProcess
from modelhost.workers.worker import Worker

log = get_logger(__name__)

ReportProgress = Callable[[HostedModel, int, float], None]
"""Told the model, the number of the run and how far its activity is, from 0 to 1."""

CHECK_INTERVAL_SECONDS = 5.0
"""How often workers are measured and looked after, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorPorts:
    """How files are found and workers started."""

    find: Find = find
    is_current: Callable[[Resolved], Awaitable[bool]] = is_current
    start_process: StartProcess = WorkerProcess.start


class WorkerSupervisor:
    """Runs the tasks of all workers. ``act`` takes what the ledger answers to their news."""

    def __init__(
        self,
        ledger: Ledger,
        act: Callable[[Iterable[Effect]], None],
        report_progress: ReportProgress,
        ports: SupervisorPorts,
    ) -> None:
        self._ledger = ledger
        self._act = act
        self._report_progress = report_progress
        self._ports = ports
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        """Tasks that end a worker: these are waited for and never cancelled."""
        self._is_closing = False

    def monitor(self, models: Mapping[str, HostedModel]) -> None:
        """Measure the workers of ``models`` from now on, and end those that have work but do nothing."""
        self._spawn(self._monitor(models), "looking after the workers")

    def begin(self, model: HostedModel, effect: Fetch | Load) -> None:
        """Begin to find the files, or to start a worker."""
        if self._is_closing:
            return
        model.progress = None
        if isinstance(effect, Fetch):
            model.starting = self._spawn(self._look_up(model, effect.run), f"finding {model.name}")
        else:
            loading = self._load(model, effect.run, is_smaller=effect.is_smaller)
            model.starting = self._spawn(loading, f"loading {model.name}")
        model.starting.add_done_callback(lambda task: self._report_fault(model, effect.run, task))

    def _report_fault(self, model: HostedModel, run: int, task: asyncio.Task[None]) -> None:
        """Have an attempt that ended by a fault of our own fail as others do: who waits for it must be told."""
        if task.cancelled() or (fault := task.exception()) is None:
            return
        error = WorkerStartFailed(
            f"{model.name} could not be loaded, by a fault of the host itself: {fault!r}. The log says where.",
            model=model.name,
            worker=model.name,
            reason="fault",
        )
        self._act(self._ledger.load_failed(model.name, run, error, self._loop.time()))

    def end(self, model: HostedModel, effect: Stop) -> None:
        """Begin to end the worker, or what was to become one."""
        starting, model.starting = model.starting, None
        if starting is not None:
            starting.cancel()  # at once: it could become ready before the task that ends it has its first turn
        worker = _let_go(model)
        ending = self._stop(model, effect, starting, worker)
        self._never_cancel(self._spawn(ending, f"ending {model.name}"))

    async def close(self, models: Iterable[HostedModel]) -> None:
        """End everything, the workers of ``models`` at the same time."""
        self._is_closing = True
        await _cancelled(self._tasks - self._endings)
        closing = []
        for model in models:
            closing += [self._close(model, worker) for worker in model.workers]
            model.set_workers()
        await asyncio.gather(*closing, *self._endings, return_exceptions=True)

    async def _close(self, model: HostedModel, worker: Worker) -> None:
        with guarded("ending workers", model=model.name):
            await worker.close()

    async def _look_up(self, model: HostedModel, run: int) -> None:
        try:
            found = await find_configured(
                self._ports.find,
                model.entry,
                model.config,
                ConfigurationContext(budget=self._ledger.budget, room=self._ledger.room(model.name)),
                lambda fraction: self._report_progress(model, run, fraction),
            )
        except ModelhostError as error:
            log.error("model_unusable", model=model.name, error=error.message)  # noqa: TRY400 (no bug: no traceback)
            self._act(self._ledger.load_failed(model.name, run, error, self._loop.time()))
            return
        resolved = within_limit(found.resolved, model.layer_limit)
        model.plain, model.overlay, model.resolved = found.plain, found.overlay, resolved
        model.is_just_found, model.preview = True, None
        self._act(self._ledger.files_found(model.name, run, resolved.charge, self._loop.time()))

    async def _load(self, model: HostedModel, run: int, *, is_smaller: bool) -> None:
        assert model.resolved is not None
        is_just_found, model.is_just_found = model.is_just_found, False
        if not is_just_found and not await self._ports.is_current(model.resolved):
            log.info("model_files_changed", model=model.name)
            self._act(self._ledger.files_changed(model.name, run, self._loop.time()))
            return
        spec = smaller(model.resolved.spec) if is_smaller else model.resolved.spec
        began = self._loop.time()
        try:
            worker = await launch_worker(
                spec,
                model.resolved.engine,
                timeout_seconds=model.entry.settings.load_timeout or model.resolved.load_timeout_seconds,
                start_process=self._ports.start_process,
                on_progress=lambda fraction: self._report_progress(model, run, fraction),
            )
        except ModelhostError as error:
            is_out_of_memory = bool(error.details.get("out_of_memory"))
            model.last_lines = tuple(error.details.get("stderr", ()))
            if error.details.get("out_of_gpu_memory") and self._correct(model, run, error):
                return
            log.error(  # noqa: TRY400 (no bug: no traceback)
                "worker_start_failed", model=model.name, error=error.message, is_out_of_memory=is_out_of_memory
            )
            now = self._loop.time()
            self._act(self._ledger.load_failed(model.name, run, error, now, is_out_of_memory=is_out_of_memory))
            return
        self._became_ready(model, run, worker, self._loop.time() - began)

    def _correct(self, model: HostedModel, run: int, error: ModelhostError) -> bool:
        """Have a model that had not enough GPU memory loaded with fewer layers there; say whether that is possible."""
        assert model.resolved is not None
        limit = limit_after(model.resolved)
        if limit is None:
            add_advice(model.resolved, error)
            return False
        before, model.layer_limit = model.resolved, limit
        model.resolved, model.is_just_found = within_limit(before, limit), True
        log.warning(
            "gpu_layers_reduced",
            model=model.name,
            gpu_layers=model.resolved.spec.gpu_layers,
            failed_with=before.spec.gpu_layers,
            need_bytes=dict(model.resolved.need_bytes),
            error=error.message,
        )
        self._act(self._ledger.load_corrected(model.name, run, model.resolved.charge, error, self._loop.time()))
        return True

    def _became_ready(self, model: HostedModel, run: int, worker: Worker, seconds: float) -> None:
        model.set_workers(worker)
        model.memory = None
        model.operations = tuple(sorted(worker.ready.tasks))
        model.sees_images = worker.ready.sees_images
        model.loaded_at, model.load_seconds = time.time(), seconds
        model.meters.load_seconds.observe(seconds)
        model.meters.loads.inc()
        model.meters.slots.set(model.slots or 1)
        self._warn_of_unused_gpu(model)
        log.info("worker_ready", model=model.name, pid=worker.process.pid, seconds=round(seconds, 3))
        self._act(self._ledger.loaded(model.name, run, {}, self._loop.time()))
        self._spawn(self._watch(model, run, worker), f"watching {model.name}")
        self._spawn(self._measure(model, run, worker), f"measuring {model.name}")

    def _warn_of_unused_gpu(self, model: HostedModel) -> None:
        """Say of a model that is loaded for the first time that it runs on the CPU beside a GPU."""
        unused = model.resolved.unused_gpu if model.resolved is not None else None
        if unused is not None and not self._ledger.record(model.name).loads:
            log.warning("gpu_not_used", model=model.name, gpu=unused.name, engine=unused.engine, way_out=unused.way_out)

    async def _watch(self, model: HostedModel, run: int, worker: Worker) -> None:
        """Learn of the end of a worker that nobody has asked to end."""
        await worker.process.wait()
        if worker not in model.workers:
            return
        _let_go(model)
        self._never_cancel(asyncio.current_task())
        model.meters.worker_exits.inc()
        model.meters.set_memory({})
        how, tail = worker.process.describe_exit(), worker.process.stderr_tail()
        log.error("worker_lost", model=model.name, pid=worker.process.pid, how=how, stderr=tail)
        error = WorkerCrashed(
            f"The worker of {model.name} {how}.", model=model.name, worker=worker.process.name, stderr=tail
        )
        self._act(self._ledger.worker_lost(model.name, run, error, self._loop.time()))
        await worker.close()

    async def _stop(
        self, model: HostedModel, effect: Stop, starting: asyncio.Task[None] | None, worker: Worker | None
    ) -> None:
        if starting is not None:
            await asyncio.wait({starting})  # cancelled already; a second time would cut its tidying up short
        if worker is not None:
            with guarded("ending workers", model=model.name):
                await self._end(model, effect, worker)
        self._act(self._ledger.worker_stopped(model.name, effect.run, self._loop.time()))

    async def _end(self, model: HostedModel, effect: Stop, worker: Worker) -> None:
        began = self._loop.time()
        freed = await worker.close(endings.unloaded_by_force if effect.reason == "forced" else endings.stopped)
        seconds = round(self._loop.time() - began, 3)
        model.memory = freed or model.memory
        log.info("model_unloaded", model=model.name, reason=effect.reason, freed_bytes=dict(freed), seconds=seconds)
        model.meters.set_memory({})
        if effect.reason == "evicted":
            model.meters.evictions.inc()

    async def _monitor(self, models: Mapping[str, HostedModel]) -> None:
        while True:
            shortest_patience = min((_stall_seconds(model) for model in models.values()), default=math.inf)
            await asyncio.sleep(min(CHECK_INTERVAL_SECONDS, shortest_patience / 4))
            for model in list(models.values()):
                for worker in model.workers:
                    with guarded("looking after workers", model=model.name):
                        await self._check(model, worker)

    async def _check(self, model: HostedModel, worker: Worker) -> None:
        now, patience = self._loop.time(), _stall_seconds(model)
        silent_seconds = worker.silent_seconds(now)
        if silent_seconds is not None and silent_seconds >= patience:
            log.error("worker_stalled", model=model.name, silent_seconds=round(silent_seconds, 1))
            await worker.end_stalled(silent_seconds)
            return
        for seconds in worker.end_stalled_requests(now, patience):
            log.error("request_stalled", model=model.name, silent_seconds=round(seconds, 1))
        if worker.requests.abandoned_seconds(now) >= patience:
            self._retire(model)
        await self._check_reachable(model, worker)

    def _retire(self, model: HostedModel) -> None:
        """Have a worker replaced that goes on with what nobody waits for: as soon as those who do are served."""
        record = self._ledger.records.get(model.name)
        if record is not None and not record.is_outdated:
            log.error("worker_does_abandoned_work", model=model.name)
            self._act(self._ledger.replace_when_idle(model.name, record.run, self._loop.time()))

    async def _check_reachable(self, model: HostedModel, worker: Worker) -> None:
        if not await worker.process.is_reachable():
            await worker.end_unreachable()
        elif model.name in self._ledger.records:
            await self._measure(model, self._ledger.record(model.name).run, worker)

    async def _measure(self, model: HostedModel, run: int, worker: Worker) -> None:
        memory = await worker.memory()
        if worker in model.workers and any(memory.values()):
            model.memory = memory
            model.meters.set_memory(memory)
            self._act(self._ledger.memory_measured(model.name, run, memory, self._loop.time()))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _never_cancel(self, task: asyncio.Task[None] | None) -> None:
        """Have ``task``, which ends a worker, waited for and never cancelled."""
        assert task is not None
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task_failed", task=task.get_name(), exc_info=error)


def _let_go(model: HostedModel) -> Worker | None:
    """Take the worker of ``model``, which it has no longer; what the worker has written can still be read."""
    worker = model.worker
    model.set_workers()
    if worker is not None:
        model.last_lines = tuple(worker.process.stderr_lines())
    return worker


def _stall_seconds(model: HostedModel) -> float:
    return model.entry.settings.stall_timeout


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and return when they have ended."""
    ending = [task for task in tasks if task is not asyncio.current_task()]
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)

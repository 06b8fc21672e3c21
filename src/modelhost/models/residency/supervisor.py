"""The supervisor of workers: a task for everything that takes time, which reports what came of it.

Finding a model's files, starting its worker, noticing its exit, measuring it and ending it. The supervisor reads models
and changes none: what it finds out goes to the scheduler, with the number of the run that it concerns.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelhost.background import cancel_and_wait, log_failures
from modelhost.errors import ModelhostError, WorkerCrashed, WorkerStartFailed
from modelhost.logs import get_logger
from modelhost.models.files.memory_pools import Bytes
from modelhost.models.residency.effects import Stop
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.ledger import Ledger
from modelhost.models.residency.reports import FilesChanged, LoadFailed, WorkerUnfit
from modelhost.models.resolve.configuration import ConfigurationContext, FindModel, find_configured
from modelhost.models.resolve.finding import find, is_current
from modelhost.models.resolve.resolved import Resolved, add_advice, limit_after
from modelhost.workers import endings
from modelhost.workers.launching import StartProcess, launch_worker, smaller
from modelhost.workers.process import WorkerProcess
from modelhost.workers.worker import Worker

if TYPE_CHECKING:
    from modelhost.models.residency.scheduler import Scheduler

log = get_logger(__name__)

CHECK_INTERVAL_SECONDS = 5.0
"""How often workers are measured and checked, at least; more often where the shortest stall timeout is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorPorts:
    """How files are found and workers started."""

    find: FindModel = find
    is_current: Callable[[Resolved], Awaitable[bool]] = is_current
    start_process: StartProcess = WorkerProcess.start


class WorkerSupervisor:
    def __init__(self, ledger: Ledger, scheduler: Scheduler, ports: SupervisorPorts) -> None:
        self._ledger = ledger
        self._scheduler = scheduler
        self._ports = ports
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[HostedModel, asyncio.Task[None]] = {}
        """What finds a model's files or starts its worker."""
        self._endings: set[asyncio.Task[None]] = set()
        """Tasks that end a worker: these are waited for and never cancelled."""
        self._is_closing = False

    def monitor(self, models: Mapping[str, HostedModel]) -> None:
        """Measure the workers of ``models`` from now on, and end those that have work but do nothing."""
        self._spawn(self._monitor(models), "monitoring the workers")

    def find_files(self, model: HostedModel, run: int) -> None:
        """Begin to find the files of a model and what it needs, downloading them if need be."""
        self._start(model, run, self._find_files(model, run), f"finding {model.name}")

    def load(self, model: HostedModel, run: int, *, is_smaller: bool, is_checked: bool) -> None:
        """Begin to start a worker. ``is_checked``: its files have just been found, so that they cannot have changed."""
        loading = self._load(model, run, is_smaller=is_smaller, is_checked=is_checked)
        self._start(model, run, loading, f"loading {model.name}")

    def end(self, model: HostedModel, stop: Stop, worker: Worker | None) -> None:
        """Begin to end ``worker``, which the model had, or what was to become one."""
        starting = self._starting.pop(model, None)
        if starting is not None:
            starting.cancel()  # at once: it could become ready before the task that ends it has its first turn
        self._never_cancel(self._spawn(self._stop(model, stop, starting, worker), f"ending {model.name}"))

    async def cancel(self) -> None:
        """End what is under way, but for the endings of workers; nothing is begun any more."""
        self._is_closing = True
        await cancel_and_wait(*(self._tasks - self._endings - {asyncio.current_task()}))

    async def close(self, workers: Iterable[tuple[HostedModel, Worker]]) -> None:
        """End ``workers``, all at the same time, and return when they and those that were being ended are gone."""
        closing = [self._close(model, worker) for model, worker in workers]
        await asyncio.gather(*closing, *self._endings, return_exceptions=True)

    async def _close(self, model: HostedModel, worker: Worker) -> None:
        with log_failures("ending workers", model=model.name):
            await worker.close()

    # Starting.

    def _start(self, model: HostedModel, run: int, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._is_closing:
            work.close()
            return
        task = self._starting[model] = self._spawn(work, name)
        task.add_done_callback(lambda task: self._started(model, run, task))

    def _started(self, model: HostedModel, run: int, task: asyncio.Task[None]) -> None:
        """Have an attempt that ended by a fault of the host fail as others do: requests wait for it."""
        if self._starting.get(model) is task:
            del self._starting[model]
        if task.cancelled() or (fault := task.exception()) is None:
            return
        error = WorkerStartFailed(
            f"{model.name} could not be loaded, by a fault of the host itself: {fault!r}. The log says where.",
            model=model.name,
            worker=model.name,
            reason="fault",
        )
        self._scheduler.report(model, run, LoadFailed(error))

    async def _find_files(self, model: HostedModel, run: int) -> None:
        occupancy = self._ledger.occupancy
        try:
            found = await find_configured(
                self._ports.find,
                model.entry,
                model.config,
                ConfigurationContext(budget=occupancy.budget, headroom=occupancy.headroom(model.name)),
                lambda fraction: self._scheduler.progressed(model, run, fraction),
            )
        except ModelhostError as error:
            log.error("model_unusable", model=model.name, error=error.message)  # noqa: TRY400 (no bug: no traceback)
            self._scheduler.report(model, run, LoadFailed(error))
            return
        self._scheduler.files_found(model, run, found)

    async def _load(self, model: HostedModel, run: int, *, is_smaller: bool, is_checked: bool) -> None:
        resolved = model.resolved
        assert resolved is not None
        if not is_checked and not await self._ports.is_current(resolved):
            log.info("model_files_changed", model=model.name)
            self._scheduler.report(model, run, FilesChanged())
            return
        began = self._loop.time()
        try:
            worker = await launch_worker(
                smaller(resolved.spec) if is_smaller else resolved.spec,
                resolved.engine,
                timeout_seconds=model.entry.settings.load_timeout or resolved.load_timeout_seconds,
                start_process=self._ports.start_process,
                on_progress=lambda fraction: self._scheduler.progressed(model, run, fraction),
            )
        except ModelhostError as error:
            self._load_failed(model, run, resolved, error)
            return
        self._ready(model, run, worker, self._loop.time() - began)

    def _load_failed(self, model: HostedModel, run: int, resolved: Resolved, error: ModelhostError) -> None:
        if error.details.get("out_of_gpu_memory"):
            limit = limit_after(resolved)
            if limit is not None:
                self._scheduler.layers_limited(model, run, limit, error)
                return
            add_advice(resolved, error)
        is_out_of_memory = bool(error.details.get("out_of_memory"))
        log.error(
            "worker_start_failed",
            model=model.name,
            error=error.message,
            is_out_of_memory=is_out_of_memory,
            stderr=error.details.get("stderr", []),
        )
        self._scheduler.report(model, run, LoadFailed(error, is_out_of_memory))

    def _ready(self, model: HostedModel, run: int, worker: Worker, seconds: float) -> None:
        unused = model.resolved.unused_gpu if model.resolved is not None else None
        if unused is not None and not self._ledger.record(model.name).loads:
            log.warning("gpu_not_used", model=model.name, gpu=unused.name, engine=unused.engine, way_out=unused.way_out)
        threads = model.resolved.spec.threads if model.resolved is not None else None
        pid = worker.process.pid
        log.info("worker_ready", model=model.name, pid=pid, threads=threads, seconds=round(seconds, 3))
        self._scheduler.worker_ready(model, run, worker, seconds)
        self._spawn(self._watch(model, run, worker), f"watching {model.name}")
        self._spawn(self._measure(model, run, worker), f"measuring {model.name}")

    # Running.

    async def _watch(self, model: HostedModel, run: int, worker: Worker) -> None:
        await worker.process.wait()
        if worker not in model.workers:
            return
        self._never_cancel(asyncio.current_task())
        how, tail = worker.process.describe_exit(), worker.process.stderr_tail()
        log.error("worker_lost", model=model.name, pid=worker.process.pid, how=how, stderr=tail)
        error = WorkerCrashed(
            f"The worker of {model.name} {how}.", model=model.name, worker=worker.process.name, stderr=tail
        )
        self._scheduler.worker_exited(model, run, error)
        await worker.close()

    async def _monitor(self, models: Mapping[str, HostedModel]) -> None:
        while True:
            shortest_timeout = min((_stall_seconds(model) for model in models.values()), default=math.inf)
            await asyncio.sleep(min(CHECK_INTERVAL_SECONDS, shortest_timeout / 4))
            for model in list(models.values()):
                for worker in model.workers:
                    with log_failures("looking after workers", model=model.name):
                        await self._check(model, worker)

    async def _check(self, model: HostedModel, worker: Worker) -> None:
        now, stall_seconds = self._loop.time(), _stall_seconds(model)
        silent_seconds = worker.silent_seconds(now)
        if silent_seconds is not None and silent_seconds >= stall_seconds:
            log.error("worker_stalled", model=model.name, silent_seconds=round(silent_seconds, 1))
            await worker.end_stalled(silent_seconds)
            return
        for seconds in worker.end_stalled_requests(now, stall_seconds):
            log.error("request_stalled", model=model.name, silent_seconds=round(seconds, 1))
        record = self._ledger.records.get(model.name)
        if record is not None and not record.is_outdated and worker.requests.abandoned_seconds(now) >= stall_seconds:
            log.error("worker_does_abandoned_work", model=model.name)
            self._scheduler.report(model, record.run, WorkerUnfit())
        if not await worker.process.is_reachable():
            await worker.end_unreachable()
        elif model.name in self._ledger.records:
            await self._measure(model, self._ledger.record(model.name).run, worker)

    async def _measure(self, model: HostedModel, run: int, worker: Worker) -> None:
        memory = await worker.memory()
        if worker in model.workers and any(memory.values()):
            self._scheduler.memory_measured(model, run, memory)

    # Ending.

    async def _stop(
        self, model: HostedModel, stop: Stop, starting: asyncio.Task[None] | None, worker: Worker | None
    ) -> None:
        if starting is not None:
            await asyncio.wait({starting})  # cancelled already; a second time would cut its tidying up short
        freed: Bytes | None = None
        if worker is not None:
            with log_failures("ending workers", model=model.name):
                began = self._loop.time()
                freed = await worker.close(endings.unloaded_by_force if stop.reason == "forced" else endings.stopped)
                seconds = round(self._loop.time() - began, 3)
                log.info(
                    "model_unloaded", model=model.name, reason=stop.reason, freed_bytes=dict(freed), seconds=seconds
                )
        self._scheduler.worker_stopped(model, stop, freed)

    # Tasks.

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


def _stall_seconds(model: HostedModel) -> float:
    return model.entry.settings.stall_timeout

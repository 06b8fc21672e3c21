"""The supervisor of one model: keeps a worker alive for it and lends that worker out, one lease per turn.

All of its state is changed by its own synchronous methods on the event loop, none of which awaits between looking and
acting; one task starts the worker, waits for its end and starts it again.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from modelhost.engines.base import Engine, Launch, ModelSpec
from modelhost.errors import ModelFailed, ModelhostError, QueueFull, QueueTimeout, ShuttingDown
from modelhost.logs import get_logger
from modelhost.meters import ModelMeters
from modelhost.models.backoff import Backoff
from modelhost.workers.client import Worker
from modelhost.workers.process import ProgressCallback, WorkerProcess
from modelhost.workers.sockets import new_socket_path, remove_socket

log = get_logger(__name__)

STARTS_BEFORE_FAILED = 3  # in a row; after that requests are refused at once until a start succeeds


class State(StrEnum):
    """What a model is doing."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many requests may be at work and waiting, and for how long."""

    max_in_flight: int
    queue_size: int
    request_timeout_seconds: float
    load_timeout_seconds: float


class StartProcess(Protocol):
    """Starts a worker process and returns it when it is ready; raises as :meth:`WorkerProcess.start` does."""

    async def __call__(
        self, launch: Launch, *, model: str, timeout_seconds: float, on_progress: ProgressCallback | None = None
    ) -> WorkerProcess: ...


class Supervisor:
    """Starts, lends out, restarts and stops the worker of one model."""

    def __init__(
        self, *, spec: ModelSpec, engine: Engine, limits: Limits, start_process: StartProcess = WorkerProcess.start
    ) -> None:
        self.spec = spec
        self.engine = engine
        self.state = State.LOADING
        self.last_error: ModelhostError | None = None
        self.loaded_at = 0.0
        self._limits = limits
        self._start_process = start_process
        self._worker: Worker | None = None
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._backoff = Backoff()
        self._keeper: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.meters = ModelMeters(spec.name)
        self._slots = 1

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def worker(self) -> Worker | None:
        """The present worker, if it is ready: to look at, not to use without a lease."""
        return self._worker

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def queue_length(self) -> int:
        return len(self._waiting)

    async def start(self, on_progress: ProgressCallback | None = None) -> None:
        """Start the worker and return when it is ready; from then on it is kept alive.

        Raises:
            WorkerStartFailed: it could not become ready; nothing is left running.
        """
        worker = await self._launch(on_progress)
        self._keeper = asyncio.create_task(self._keep_alive(worker), name=f"keeper of {self.name}")

    async def stop(self, drain_seconds: float) -> None:
        """Refuse new requests, give those at work ``drain_seconds`` to finish, end the worker."""
        self.state = State.STOPPED
        self.meters.model_ready.set(0)
        self._refuse_waiting(_shutting_down)
        try:
            async with asyncio.timeout(drain_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("drain_timed_out", model=self.name, in_flight=self._in_flight)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._worker is not None:
            await self._worker.close()
            self._worker = None

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Worker]:
        """Lend the worker out for one turn, waiting for it if need be.

        Raises:
            QueueFull: as many requests as may wait are waiting.
            QueueTimeout: the wait was longer than allowed.
            ModelFailed: the worker does not start.
            ShuttingDown: the host is being stopped.
        """
        worker = self._take_now() or await self._wait_for_worker()
        try:
            yield worker
        finally:
            self._give_back()

    def _take_now(self) -> Worker | None:
        if self.state is State.READY and self._in_flight < self._limits.max_in_flight and not self._waiting:
            self._count(+1)
            return self._worker
        return None

    async def _wait_for_worker(self) -> Worker:
        self._check_may_wait()
        place: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self.meters.queue_length.inc()
        began = time.monotonic()
        worker: Worker | None = None
        try:
            async with asyncio.timeout(self._limits.request_timeout_seconds):
                worker = await place
        except TimeoutError:
            raise self._timed_out() from None
        finally:
            self.meters.queue_seconds.observe(time.monotonic() - began)
            self.meters.queue_length.dec()
            if worker is None:
                self._leave_queue(place)
        return worker

    def _check_may_wait(self) -> None:
        if self.state is State.STOPPED:
            raise _shutting_down()
        if self.state is State.FAILED:
            raise self._failed()
        if len(self._waiting) >= self._limits.queue_size:
            raise QueueFull(
                f"{len(self._waiting)} requests wait for {self.name} already ({self.state}). "
                "Try again, or raise --queue-size.",
                retry_after_seconds=1,
                model=self.name,
                queue_length=len(self._waiting),
                state=self.state.value,
            )

    def _failed(self) -> ModelFailed:
        reason = self.last_error.message if self.last_error else "unknown"
        return ModelFailed(
            f"{self.name} could not be started and is tried again later. {reason}",
            retry_after_seconds=math.ceil(self._backoff.next_seconds),
            model=self.name,
        )

    def _timed_out(self) -> QueueTimeout:
        seconds = self._limits.request_timeout_seconds
        return QueueTimeout(
            f"{self.name} was {self.state} for the {seconds:g} s that a request may wait. "
            "Try again, or raise --request-timeout.",
            model=self.name,
            state=self.state.value,
            queue_length=len(self._waiting),
        )

    def _leave_queue(self, place: asyncio.Future[Worker]) -> None:
        """Drop ``place``; a worker that was granted in the moment its client left goes to the next one."""
        if place in self._waiting:
            self._waiting.remove(place)
        elif place.done() and not place.cancelled() and place.exception() is None:
            self._give_back()

    def _give_back(self) -> None:
        self._count(-1)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._waiting and self.state is State.READY and self._in_flight < self._limits.max_in_flight:
            place = self._waiting.popleft()
            if not place.done():
                self._count(+1)
                assert self._worker is not None
                place.set_result(self._worker)

    def _refuse_waiting(self, error: Callable[[], ModelhostError]) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error())

    def _count(self, change: int) -> None:
        self._in_flight += change
        self.meters.in_flight.set(self._in_flight)
        self.meters.slots_in_use.set(min(self._in_flight, self._slots))
        if self._in_flight:
            self._idle.clear()
        else:
            self._idle.set()

    async def _launch(self, on_progress: ProgressCallback | None = None) -> Worker:
        began = time.monotonic()
        api_key = secrets.token_urlsafe(24)
        launch = _on_socket(self.engine.launch(self.spec, api_key))
        try:
            process = await self._start_process(
                launch,
                model=self.name,
                timeout_seconds=self._limits.load_timeout_seconds,
                on_progress=on_progress,
            )
        except BaseException:
            if "socket_path" in launch.config:
                remove_socket(launch.config["socket_path"])
            raise
        seconds = time.monotonic() - began
        self.meters.load_seconds.observe(seconds)
        log.info("worker_ready", model=self.name, pid=process.pid, seconds=round(seconds, 3))
        worker = Worker(process=process, engine=self.engine, model=self.name, api_key=api_key)
        self._became_ready(worker)
        return worker

    def _became_ready(self, worker: Worker) -> None:
        self._worker = worker
        if self.state is State.STOPPED:
            return
        self.state = State.READY
        self.last_error = None
        self.loaded_at = time.time()
        self._slots = worker.ready.slots or 1
        self.meters.slots.set(self._slots)
        self.meters.model_ready.set(1)
        self._serve_waiting()

    async def _keep_alive(self, worker: Worker) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await worker.process.wait()
            self._lost(worker, lived_seconds=clock() - began)
            await worker.close()
            if self.state is State.STOPPED:
                return
            worker = await self._restart()

    def _lost(self, worker: Worker, *, lived_seconds: float) -> None:
        self._worker = None
        if self.state is not State.STOPPED:
            self.state = State.RESTARTING
        self.meters.model_ready.set(0)
        self.meters.worker_exits.inc()
        self._backoff.survived(lived_seconds)
        log.error(
            "worker_lost",
            model=self.name,
            pid=worker.process.pid,
            how=worker.process.describe_exit(),
            stderr=worker.process.stderr_tail(),
        )

    async def _restart(self) -> Worker:
        failures = 0
        while True:
            await asyncio.sleep(self._backoff.pause())
            try:
                return await self._launch()
            except ModelhostError as error:
                failures += 1
                self.last_error = error
                log.error("worker_start_failed", model=self.name, failures=failures, error=error.message)  # noqa: TRY400
                if failures >= STARTS_BEFORE_FAILED:
                    self.state = State.FAILED
                    self._refuse_waiting(self._failed)


def _on_socket(launch: Launch) -> Launch:
    """Let the worker listen on a Unix socket where there can be one; otherwise it chooses a port on loopback."""
    path = new_socket_path()
    return replace(launch, config={**launch.config, "socket_path": str(path)}) if path else launch


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The host is being stopped.")

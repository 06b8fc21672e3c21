"""One worker process: start it, wait until it is ready, keep its last log lines, end it.

:mod:`modelhost.engines.launch` describes the protocol. The process runs in its own session, so that Ctrl-C in the
terminal reaches only the host and the whole group can be ended at once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing, suppress
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from modelhost.config import environment
from modelhost.engines.launch import Launch, Ready
from modelhost.errors import ModelFileInvalid, ModelhostError, SystemLibraryMissing, WorkerStartFailed
from modelhost.logs import get_logger
from modelhost.workers import gpus, memory
from modelhost.workers.child import Child
from modelhost.workers.connection import is_listening
from modelhost.workers.machine import oom_kills
from modelhost.workers.memory import contains_any, ran_out_of_memory
from modelhost.workers.process_groups import end_group, members

log = get_logger(__name__)

READY = TypeAdapter(Ready)
ProgressCallback = Callable[[float], None]
STDERR_LINES = 200  # kept for the message of a crash
BUFFER_BYTES = 65536
LINE_BYTES = 4096  # of a log line; the rest of a longer one is dropped
TAIL_LINES = 12
ENGINE_TIMEOUT = "engine_timeout"
"""The reason of a worker whose time was over while it imported the engine's library."""
TRACEBACK = "Traceback (most recent call last)"
WAY_OUT = " Download or convert its files again, or correct its engine options; the log has the engine's own lines."
UNSUITABLE = "unsuitable_program"
"""The code of a worker that has not started the program which a setting names."""
LAST_LINES_SECONDS = 1.0  # to read what an ended process wrote
FATAL_SIGNAL_OFFSET = 128  # a shell's exit status for "ended by signal N" is this plus N


class WorkerProcess:
    """A worker that has become ready. Made by :meth:`start` only."""

    def __init__(
        self, child: Child, *, model: str, memory_phrases: Collection[str], gpu_memory_phrases: Collection[str] = ()
    ) -> None:
        self._process = child
        self._model = model
        self._memory_phrases = memory_phrases
        self._gpu_memory_phrases = gpu_memory_phrases
        self._oom_kills_before = oom_kills()
        self._was_killed = False  # by us, while it ran
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._exited = asyncio.Event()
        self._readers = [asyncio.create_task(self._keep_stderr())]
        self._reaper = asyncio.create_task(self._reap())
        self.ready = Ready(url="")
        self._loads_engine = False

    @classmethod
    async def start(
        cls, launch: Launch, *, model: str, timeout_seconds: float, on_progress: ProgressCallback | None = None
    ) -> WorkerProcess:
        """Start a worker and return it when it is ready.

        Raises:
            WorkerStartFailed: it ended, reported a failure, or was not ready in time; nothing of it is left. The detail
                ``out_of_memory`` says whether it was for lack of memory; ``out_of_gpu_memory`` is set if that was a
                GPU's. Its ``reason`` is ``ENGINE_TIMEOUT`` if it was still importing the engine's library.
            ModelFileInvalid: the engine cannot load its files; the detail ``stderr`` has the engine's log.
            SystemLibraryMissing: a system library that the engine needs is missing.
        """
        worker = cls(
            _spawn(launch, model),
            model=model,
            memory_phrases=launch.memory_phrases,
            gpu_memory_phrases=launch.gpu_memory_phrases,
        )
        try:
            async with asyncio.timeout(timeout_seconds):
                await worker._become_ready(launch, on_progress)
        except TimeoutError:
            await worker.kill()
            raise worker._out_of_time(timeout_seconds) from None
        except BaseException:
            await worker.kill()
            raise
        worker._readers.append(asyncio.create_task(worker._drain_stdout()))
        return worker

    @property
    def name(self) -> str:
        """The name in logs and errors: the model and the process id."""
        return f"{self._model}/{self._process.pid}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return not self._exited.is_set() and self._process.is_running

    async def is_reachable(self) -> bool:
        """Return whether it listens; its socket may have been deleted."""
        return await is_listening(self.ready.url)

    async def memory(self) -> Mapping[str, int]:
        """Return the memory of the worker and its children by pool; empty once it has ended.

        By :func:`modelhost.workers.memory.measure`: 2 ms in a thread for a small model.
        """
        return await memory.measure(self.pid) if self.is_running else {}

    def stderr_lines(self) -> list[str]:
        """Return the lines of its log that are kept."""
        return list(self._stderr)

    def stderr_tail(self) -> list[str]:
        """Return the last lines of its log, for an error message."""
        return self.stderr_lines()[-TAIL_LINES:]

    async def wait(self) -> int:
        """Wait until the process has ended and its log is read; return its exit status."""
        await self._exited.wait()
        return self._process.returncode or 0

    def describe_exit(self) -> str:
        status = self._process.returncode
        if status is None:
            return "is still running"
        number = -status if status < 0 else status - FATAL_SIGNAL_OFFSET
        try:
            return f"was ended by {signal.Signals(number).name}"
        except ValueError:
            return f"exited with status {status}"

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """End the worker: SIGTERM, then after ``grace_seconds`` as :meth:`kill`."""
        pids = self._pids_on_gpus()
        if self.is_running:
            self._signal_group(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._exited.wait()
        await self._kill(pids)

    async def kill(self) -> None:
        """Kill the whole group, and wait until it is gone and its GPU memory is free.

        Processes that are not gone after some seconds (stuck in a driver) are logged.
        """
        await self._kill(self._pids_on_gpus())

    async def _kill(self, pids_on_gpus: Collection[int]) -> None:
        if self._process.returncode is None:
            self._was_killed = True
            self._signal_group(signal.SIGKILL)
        await self._exited.wait()
        if left := await end_group(self.pid):
            log.warning("worker_left_processes", model=self._model, worker=self.name, pids=sorted(left))
        # A process that left the group may keep the pipes open for ever: do not wait for it.
        _, unfinished = await asyncio.wait([*self._readers, self._reaper], timeout=LAST_LINES_SECONDS)
        for reader in unfinished:
            reader.cancel()
        self._process.close()
        if pids_on_gpus and not await gpus.wait_for_freed_memory(pids_on_gpus):
            log.warning("worker_left_gpu_memory", model=self._model, worker=self.name, pids=sorted(pids_on_gpus))

    def _pids_on_gpus(self) -> Collection[int]:
        """Return the processes whose GPU memory is to be freed. Called before the end, while the children are known."""
        return {self.pid, *members(self.pid)} if gpus.has_driver() else ()

    def _signal_group(self, number: signal.Signals) -> None:
        # It may be gone already; macOS answers EPERM for a group of zombies.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _become_ready(self, launch: Launch, on_progress: ProgressCallback | None) -> None:
        self._process.send(orjson.dumps(dict(launch.config)) + b"\n")
        async with aclosing(_lines(self._process.stdout)) as lines:
            async for line in lines:
                event = self._parse(line)
                match event.get("event"):
                    case "engine":
                        self._loads_engine = not event["is_loaded"]
                    case "progress":
                        if on_progress is not None:
                            on_progress(float(event["fraction"]))
                    case "failed":
                        await self._exited.wait()
                        raise self._reported_failure(event)
                    case "ready":
                        self.ready = self._parse_ready(event)
                        self._log_missing_features()
                        return
        await self._exited.wait()
        raise self._start_failed(self.describe_exit(), reason="exit")

    def _parse(self, line: str) -> dict[str, Any]:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = None
        if not isinstance(event, dict):
            self._stderr.append(line)
            return {}
        return event

    def _parse_ready(self, event: dict[str, Any]) -> Ready:
        try:
            return READY.validate_python({key: value for key, value in event.items() if key != "event"})
        except ValidationError as error:
            raise self._start_failed(f"announced what no host understands: {error}", reason="protocol") from None

    def _log_missing_features(self) -> None:
        if lacks := self.ready.lacks:
            log.info("engine_lacks", model=self._model, engine_version=self.ready.engine_version, lacks=list(lacks))

    def _reported_failure(self, event: dict[str, Any]) -> ModelhostError:
        message = str(event.get("message", ""))
        if event.get("code") == SystemLibraryMissing.code:
            return SystemLibraryMissing(message)
        if event.get("code") == ModelFileInvalid.code and not self._is_out_of_memory(message):
            return ModelFileInvalid(
                f"{self._model} cannot be loaded: {message.rstrip('.')}.{'' if event.get('has_way_out') else WAY_OUT}",
                model=self._model,
                stderr=self.stderr_tail(),
            )
        return self._start_failed(message, reason=str(event.get("code")), is_told=True)

    def _out_of_time(self, seconds: float) -> WorkerStartFailed:
        if self._loads_engine:
            return self._start_failed(f"had not loaded its engine after {seconds:g} s", reason=ENGINE_TIMEOUT)
        return self._start_failed(f"was not ready after {seconds:g} s", reason="timeout")

    def _start_failed(self, what: str, *, reason: str, is_told: bool = False) -> WorkerStartFailed:
        """``is_told``: the worker itself has said ``what`` is wrong."""
        tail = self.stderr_tail()
        lines = "".join(f"\n  {line}" for line in tail) if tail else " (it wrote nothing to its log)"
        # A traceback ends with what the worker has told; it is in the details and in the log.
        is_traceback = is_told and any(line.startswith(TRACEBACK) for line in self._stderr)
        was_started = reason != UNSUITABLE or tail
        said = f" Its last lines:{lines}" if was_started and not is_traceback else ""
        is_out_of_memory = self._is_out_of_memory(what)
        of_gpu = is_out_of_memory and contains_any([*self._stderr, what], self._gpu_memory_phrases)
        return WorkerStartFailed(
            f"The worker of {self._model} could not start: {what.rstrip('.')}.{said}",
            model=self._model,
            worker=self.name,
            reason=reason,
            exit_status=self._process.returncode,
            out_of_memory=is_out_of_memory,
            **({"out_of_gpu_memory": True} if of_gpu else {}),
            stderr=tail,
        )

    def _is_out_of_memory(self, what: str) -> bool:
        return ran_out_of_memory(
            exit_status=self._process.returncode,
            was_killed_by_us=self._was_killed,
            oom_kills=(self._oom_kills_before, oom_kills()),
            lines=[*self._stderr, what],
            phrases=self._memory_phrases,
        )

    async def _keep_stderr(self) -> None:
        async for line in _lines(self._process.stderr):
            self._stderr.append(line)
            log.debug("worker_log", model=self._model, pid=self._process.pid, line=line)

    async def _drain_stdout(self) -> None:
        async for line in _lines(self._process.stdout):
            self._stderr.append(line)

    async def _reap(self) -> None:
        await self._process.exited.wait()
        # The last lines explain a crash: read them before the exit is reported.
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_LINES_SECONDS):
                await asyncio.wait(self._readers[:1])
        self._exited.set()


def _spawn(launch: Launch, model: str) -> Child:
    """Start the process (WorkerStartFailed: for want of memory, of descriptors or of such a program)."""
    try:
        return Child(launch.argv, {**environment.current(), **launch.env}, is_private=True)
    except OSError as error:
        raise WorkerStartFailed(
            f"The worker of {model} could not start: {launch.argv[0]}: {error.strerror or error}.",
            model=model,
            worker=model,
            reason="spawn",
            out_of_memory=error.errno == errno.ENOMEM,
        ) from error


async def _lines(stream: asyncio.StreamReader) -> AsyncGenerator[str, None]:
    """Yield the lines of ``stream``; long ones are cut, unlike ``readline``, which fails on them."""
    rest = b""
    while block := await stream.read(BUFFER_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        rest = rest[:LINE_BYTES]
        for line in lines:
            if text := line[:LINE_BYTES].decode(errors="replace").rstrip():
                yield text
    if rest:
        yield rest.decode(errors="replace").rstrip()

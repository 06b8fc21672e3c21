"""From a model's specification to a ready worker."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from modelhost import lazy
from modelhost.engines.base import Engine
from modelhost.engines.launch import Launch, ModelSpec
from modelhost.errors import ModelFileInvalid, ModelhostError, SystemLibraryMissing, WorkerStartFailed
from modelhost.logs import get_logger
from modelhost.workers.client import WorkerClient
from modelhost.workers.private_folder import new_socket_path, private_folder, remove_socket
from modelhost.workers.process import ENGINE_TIMEOUT, ProgressCallback, WorkerProcess
from modelhost.workers.worker import Worker

log = get_logger(__name__)

SHORTEST_CONTEXT = 512
"""Tokens; a smaller context than this is not tried when memory is short."""
CRASHES: Final = frozenset(
    {signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
)
"""Signals by which a process ends itself after a fault; no other process sends them."""


class StartProcess(Protocol):
    """Starts a worker process and returns it when it is ready; raises as :meth:`WorkerProcess.start` does."""

    async def __call__(
        self, launch: Launch, *, model: str, timeout_seconds: float, on_progress: ProgressCallback | None = None
    ) -> WorkerProcess: ...


async def launch_worker(
    spec: ModelSpec,
    engine: Engine,
    *,
    timeout_seconds: float,
    start_process: StartProcess,
    on_progress: Callable[[float], None] | None = None,
) -> Worker:
    """Start a worker for ``spec``, or connect to where the model is, and return it when it can answer.

    Where the engine itself cannot run in the environment of ``spec``, the host's own Python takes its place if it has
    the engine; the log says so.

    Raises:
        WorkerStartFailed, ModelFileInvalid, ConfigError, SystemLibraryMissing: nothing of it is left. The detail
            ``engine`` of the first two names the one that could not be started.
    """
    start = partial(
        _launch, engine=engine, timeout_seconds=timeout_seconds, start_process=start_process, on_progress=on_progress
    )
    try:
        return await start(spec)
    except (WorkerStartFailed, SystemLibraryMissing) as error:
        if not (spec.has_fallback and is_for_the_engine(error)):
            raise
        log.warning(
            "engine_build_failed",
            model=spec.name,
            engine=engine.name,
            python=spec.python,
            error=error.message,
            instead=sys.executable,
            way_out=f"modelhost engines install {engine.name}",
        )
    return await start(replace(spec, python=None, has_fallback=False))


def is_for_the_engine(error: ModelhostError) -> bool:
    """Whether a worker could not start because its engine cannot run at all; not for its model, nor for memory."""
    if isinstance(error, SystemLibraryMissing):
        return True
    reason, status = error.details.get("reason"), error.details.get("exit_status")
    # Success is none for a worker that nobody has told to end.
    has_ended = reason == "exit" and (status == 0 or -int(status or 0) in CRASHES)
    return (has_ended or reason == ENGINE_TIMEOUT) and not error.details.get("out_of_memory")


async def _launch(
    spec: ModelSpec,
    *,
    engine: Engine,
    timeout_seconds: float,
    start_process: StartProcess,
    on_progress: Callable[[float], None] | None,
) -> Worker:
    api_key = secrets.token_urlsafe(24)
    launch = engine.launch(spec, api_key)
    if launch.remote is not None:
        begin = lazy.remote_worker.RemoteWorker.begin
        return await begin(launch.remote, engine, model=spec.name, timeout_seconds=timeout_seconds)
    launch = _with_places(launch)
    try:
        process = await start_process(launch, model=spec.name, timeout_seconds=timeout_seconds, on_progress=on_progress)
    except BaseException as error:
        if isinstance(error, (ModelFileInvalid, WorkerStartFailed)):
            error.details = {**error.details, "engine": engine.name}
        if "socket_path" in launch.config:
            remove_socket(launch.config["socket_path"])
        raise
    return WorkerClient(process=process, engine=engine, model=spec.name, api_key=api_key)


def smaller(spec: ModelSpec) -> ModelSpec:
    """Return ``spec`` with half of its context, for a machine that had not enough memory for the whole."""
    if spec.context_length is None:
        return spec
    return replace(spec, context_length=max(SHORTEST_CONTEXT, spec.context_length // 2))


def _with_places(launch: Launch) -> Launch:
    """Let the worker listen on a Unix socket where there can be one (otherwise it chooses a port on loopback), and give
    it a folder for files."""
    places: dict[str, str] = {}
    if folder := private_folder():
        places["folder"] = str(folder)
    if path := new_socket_path():
        places["socket_path"] = str(path)
    return replace(launch, config={**launch.config, **places})

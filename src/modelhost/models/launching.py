"""From a model's specification to a ready worker."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from modelhost.engines.base import Engine, Launch, ModelSpec
from modelhost.errors import WorkerStartFailed
from modelhost.workers.client import Worker
from modelhost.workers.private_folder import private_folder
from modelhost.workers.process import ProgressCallback, WorkerProcess
from modelhost.workers.sockets import new_socket_path, remove_socket

SHORTEST_CONTEXT = 512
"""Tokens; a smaller context than this is not tried when memory is short."""


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

    Raises:
        WorkerStartFailed, ConfigError, SystemLibraryMissing: nothing of it is left. The detail ``engine`` of the first
            names the one that could not be started.
    """
    api_key = secrets.token_urlsafe(24)
    launch = engine.launch(spec, api_key)
    if launch.elsewhere is not None:
        from modelhost.workers.remote_worker import RemoteWorker  # noqa: PLC0415  (brings an HTTP library, slow to import)

        return await RemoteWorker.begin(launch.elsewhere, engine, model=spec.name, timeout_seconds=timeout_seconds)
    launch = _with_places(launch)
    try:
        process = await start_process(launch, model=spec.name, timeout_seconds=timeout_seconds, on_progress=on_progress)
    except BaseException as error:
        if isinstance(error, WorkerStartFailed):
            error.details = {**error.details, "engine": engine.name}
        if "socket_path" in launch.config:
            remove_socket(launch.config["socket_path"])
        raise
    return Worker(process=process, engine=engine, model=spec.name, api_key=api_key)


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

"""The servers of a remote model: which are healthy, and which gets the next request.

The model counts as running as long as one of them is healthy or handles a request of ours.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Self

from modelhost.background import log_failures
from modelhost.config.network import require_certificates
from modelhost.engines.launch import Ready, RemoteTarget
from modelhost.errors import ConfigError, WorkerStartFailed
from modelhost.exchange.tasks import Task
from modelhost.logs import get_logger
from modelhost.workers.remote.connection import KeepAliveConnection, tls_context
from modelhost.workers.remote.endpoint import Endpoint, Unhealthy

log = get_logger(__name__)

LINES_KEPT: Final = 200
TAIL_LINES: Final = 12
UNREACHABLE: Final = "unreachable"
"""The ``reason`` of a start that failed since no server could be reached: one may become reachable."""
CONTEXT_NAMES: Final = ("context_length", "max_model_len", "context_window", "n_ctx", "n_ctx_train")


class RemoteServers:
    """The :class:`~modelhost.workers.worker.WorkerHandle` of a remote model. Made by :meth:`start` only."""

    def __init__(self, target: RemoteTarget, endpoints: Sequence[Endpoint], *, model: str) -> None:
        self.endpoints = endpoints
        self.ready = Ready(url="")
        self._elsewhere = target
        self._model = model
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._ended = asyncio.Event()
        self._check_now = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, target: RemoteTarget, *, model: str, timeout_seconds: float) -> Self:
        """Return them when one of them can serve ``model``; their health is watched from then on.

        Raises:
            WorkerStartFailed: none can. The detail ``reason`` is ``unreachable`` if one may become reachable by itself.
            ConfigError: the file with certificates, or that of ``SSL_CERT_FILE``, cannot be used.
        """
        tls = None
        if any(url.startswith("https") for url in target.urls):
            if target.verify and not target.ca_file:
                require_certificates()
            try:
                tls = await asyncio.to_thread(tls_context, verify=target.verify, ca_file=target.ca_file)
            except OSError as error:
                raise ConfigError(
                    f'engine option "ca_file": {target.ca_file}: {error.strerror or error}', param="engine_options"
                ) from error
        servers = cls(target, [Endpoint(url, target, tls) for url in target.urls], model=model)
        try:
            async with asyncio.timeout(timeout_seconds):
                await servers._check()
        except BaseException as error:
            servers._close()
            if isinstance(error, TimeoutError):
                raise servers._start_failed() from None
            raise
        if not servers._healthy():
            servers._close()
            raise servers._start_failed()
        servers._watching = asyncio.create_task(servers._watch_health(), name=f"health of {model}")
        return servers

    # The worker's handle.

    @property
    def name(self) -> str:
        return f"{self._model}@{','.join(endpoint.name for endpoint in self.endpoints)}"

    @property
    def pid(self) -> int | None:
        return None

    @property
    def is_running(self) -> bool:
        return not self._ended.is_set()

    async def is_reachable(self) -> bool:
        """Always true: their health is watched here, and as long as this runs, one can be tried."""
        return True

    async def memory(self) -> Mapping[str, int]:
        """Empty: they use no memory of this machine."""
        return {}

    def stderr_lines(self) -> list[str]:
        return list(self._lines)

    def stderr_tail(self) -> list[str]:
        return self.stderr_lines()[-TAIL_LINES:]

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def describe_exit(self) -> str:
        return f"has no server that can be used: {self._problems()}"

    async def stop(self) -> None:
        """Stop watching them, and close the connections."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        self._close()

    async def kill(self) -> None:
        await self.stop()

    # Requests.

    def by_load(self) -> list[Endpoint]:
        """Return the healthy servers, those with the fewest requests first; all of them if none is healthy.

        A health check may be wrong or outdated.
        """
        return sorted(self._healthy() or self.endpoints, key=lambda endpoint: endpoint.in_flight)

    def mark_failed(self, endpoint: Endpoint, why: str) -> None:
        """Note that a server failed a request: it gets no more until it passes another check."""
        if endpoint.trouble is None:
            endpoint.trouble = Unhealthy(why, is_unreachable=True)
            self._log_change(endpoint, was_healthy=True)
        self._check_now.set()

    def release(self, endpoint: Endpoint, connection: KeepAliveConnection) -> None:
        endpoint.release(connection)
        self._end_if_lost()

    # Health.

    async def _watch_health(self) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._elsewhere.health_seconds):
                    await self._check_now.wait()
            self._check_now.clear()
            with log_failures("looking after remote servers", model=self._model):
                await self._check()
                self._end_if_lost()

    async def check(self, endpoint: Endpoint) -> None:
        """Check one of the servers now, besides the regular checks. Cancelled, it changes nothing."""
        await self._check_one(endpoint)
        self._end_if_lost()

    async def _check_one(self, endpoint: Endpoint) -> None:
        was_healthy = endpoint.trouble is None
        await endpoint.check()
        self._log_change(endpoint, was_healthy=was_healthy)

    async def _check(self) -> None:
        await asyncio.gather(*(self._check_one(endpoint) for endpoint in self.endpoints))
        if healthy := self._healthy():
            self.ready = ready_of(healthy[0], self._elsewhere)

    def _healthy(self) -> list[Endpoint]:
        return [endpoint for endpoint in self.endpoints if endpoint.trouble is None]

    def _end_if_lost(self) -> None:
        if not self._healthy() and not any(endpoint.in_flight for endpoint in self.endpoints):
            self._close()

    def _close(self) -> None:
        self._ended.set()
        for endpoint in self.endpoints:
            endpoint.close()

    def _log_change(self, endpoint: Endpoint, *, was_healthy: bool) -> None:
        is_healthy = endpoint.trouble is None
        if is_healthy == was_healthy:
            return
        clock = time.strftime("%H:%M:%S")
        if is_healthy:
            self._lines.append(f"{clock} {endpoint.name} answers")
            log.info("remote_healthy", model=self._model, server=endpoint.name)
        else:
            self._lines.append(f"{clock} {endpoint.name} is out: {endpoint.trouble}")
            log.warning("remote_unhealthy", model=self._model, server=endpoint.name, reason=str(endpoint.trouble))

    def _problems(self) -> str:
        return "; ".join(
            f"{endpoint.name}: {endpoint.trouble}" for endpoint in self.endpoints if endpoint.trouble is not None
        )

    def _start_failed(self) -> WorkerStartFailed:
        can_come_up = any(endpoint.trouble and endpoint.trouble.is_unreachable for endpoint in self.endpoints)
        return WorkerStartFailed(
            f"{self._model} has no server that can be used: {self._problems()}.",
            model=self._model,
            worker=self.name,
            reason=UNREACHABLE if can_come_up else "refused",
            endpoints={endpoint.name: str(endpoint.trouble) for endpoint in self.endpoints},
        )


def ready_of(endpoint: Endpoint, target: RemoteTarget) -> Ready:
    """Return what a healthy server lists about its model, as far as it does."""
    entry: Mapping[str, Any] = endpoint.card.entry if endpoint.card is not None else {}
    meta = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
    sizes = [value for name in CONTEXT_NAMES for value in (entry.get(name), (meta or {}).get(name))]
    slots, operations = entry.get("slots"), entry.get("operations")
    sees, hears = entry.get("sees_images"), entry.get("hears_audio")
    announced: frozenset[Task] = frozenset(operations) if isinstance(operations, list) else frozenset()
    ready = Ready(
        url=target.urls[0],
        context_length=next((value for value in sizes if isinstance(value, int)), target.context_length),
        slots=slots if isinstance(slots, int) and slots > 0 else None,
        sees_images=sees if isinstance(sees, bool) else None,
        hears_audio=hears if isinstance(hears, bool) else None,
    )
    return replace(ready, tasks=(announced & target.tasks) or target.tasks)

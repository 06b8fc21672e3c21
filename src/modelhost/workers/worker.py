"""A worker as the host sees it: a process here, or servers elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from modelhost.engines.base import Engine
from modelhost.engines.launch import Ready
from modelhost.errors import ModelhostError
from modelhost.exchange.payloads import Payload
from modelhost.exchange.tasks import Task
from modelhost.monitor.engine_reports import EngineReport
from modelhost.workers import endings
from modelhost.workers.open_requests import OpenRequests
from modelhost.workers.wire import EventBlocks


class WorkerHandle(Protocol):
    """What runs behind a worker: a process here, or servers elsewhere. It has started already, and ends once."""

    @property
    def ready(self) -> Ready:
        """What it announced about itself."""
        ...

    @property
    def name(self) -> str:
        """The name in logs and errors."""
        ...

    @property
    def pid(self) -> int | None:
        """The process id, if it is a process here."""
        ...

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; false before :meth:`wait` returns, which may be reading its last lines."""
        ...

    async def is_reachable(self) -> bool:
        """Return whether requests can reach it, as far as is known without sending one."""
        ...

    async def memory(self) -> Mapping[str, int]:
        """Return the memory that it uses on this machine by pool; empty once it has ended."""
        ...

    def stderr_lines(self) -> list[str]:
        """Return the lines of its log that are kept."""
        ...

    def stderr_tail(self) -> list[str]:
        """Return the last lines, for an error message."""
        ...

    async def wait(self) -> int:
        """Wait until it has ended; return its exit status."""
        ...

    def describe_exit(self) -> str:
        """Return how it ended, as the rest of a sentence about a worker."""
        ...

    async def stop(self) -> None:
        """End it gracefully; return when nothing is left of it."""
        ...

    async def kill(self) -> None:
        """End it at once."""
        ...


class WorkerAnswer(Protocol):
    """An answer of a worker, from its head on."""

    @property
    def content_type(self) -> str:
        """Its media type; empty if unknown."""

    async def read(self) -> bytes:
        """Return what has arrived, waiting if there is nothing; ``b""`` at the end."""
        ...

    async def read_all(self) -> bytes:
        """Return the rest of it."""
        ...


class Worker(Protocol):
    """A loaded model: what runs behind it, and its client."""

    engine: Engine
    model: str
    requests: OpenRequests

    @property
    def process(self) -> WorkerHandle:
        """What runs behind it."""
        ...

    @property
    def ready(self) -> Ready:
        """What it announced when it was ready."""
        ...

    @property
    def open_requests(self) -> int:
        """The number of its open requests."""
        ...

    @property
    def last_output_at(self) -> float:
        """When the last bytes of any answer arrived, by the event loop's clock; ``-inf`` before the first."""
        ...

    def send(self, task: Task, payload: Payload) -> AbstractAsyncContextManager[WorkerAnswer]:
        """Send a request and yield the answer as it arrives, in the engine's dialect; leaving cancels the work.

        Raises:
            ModelhostError: the worker refused the request (translated by its engine), failed or is gone.
        """
        ...

    def stream(self, task: Task, body: dict[str, Any]) -> AbstractAsyncContextManager[EventBlocks]:
        """Send ``body`` and yield the answer's events, in the host's dialect; otherwise as :meth:`send`."""
        ...

    async def call(self, task: Task, payload: Payload) -> Any:
        """Send a request and return the JSON of the whole answer, in the host's dialect; raises as :meth:`send`."""
        ...

    async def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON answer of the engine to ``body`` (without one, to a GET); raises as :meth:`send`.

        It does not count as work: its duration is not watched.
        """
        ...

    async def report(self) -> EngineReport | None:
        """Return what the engine reports of itself; ``None``: nothing. Raises as :meth:`send`."""
        ...

    def fetch_events(
        self, path: str, body: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[AsyncGenerator[Mapping[str, Any], None]]:
        """Send ``body`` and yield the events of the answer; otherwise as :meth:`fetch`."""
        ...

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        """Return the worker's error answer as one of our errors."""
        ...

    def silent_seconds(self, now: float) -> float | None:
        """Return for how long it has produced nothing although it had work; ``None`` without work.

        Work about which engines are always silent does not count.
        """
        ...

    def end_stalled_requests(self, now: float, patience_seconds: float) -> list[float]:
        """End the requests about which it has been silent for too long; return for how long each."""
        ...

    async def end_stalled(self, seconds: float) -> None:
        """Kill it, after a silence of ``seconds``; its requests fail with a :class:`WorkerCrashed` that says so.

        It has to be closed afterwards, like one that crashed.
        """
        ...

    async def end_unreachable(self) -> None:
        """Kill it, since nothing listens at its address; it has to be closed afterwards, like one that crashed."""
        ...

    async def memory(self) -> Mapping[str, int]:
        """Return the memory that it uses by pool (``ram``, ``gpu:0`` ...), as :meth:`WorkerHandle.memory`."""
        ...

    async def close(self, explain: endings.MakeError = ...) -> Mapping[str, int]:
        """End it, if it still runs, and release its resources.

        Open requests fail with the error that ``explain`` makes, or as after a crash if it had ended by itself.

        Returns:
            The memory that was freed by pool, measured before; empty if it had ended already.
        """
        ...

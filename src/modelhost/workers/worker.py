"""A worker as the host sees it: a process here, or servers elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from modelhost.engines.base import Engine
from modelhost.engines.launch import Ready
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import Payload, Task
from modelhost.workers import endings
from modelhost.workers.open_requests import OpenRequests
from modelhost.workers.wire import EventBlocks


class WorkerHandle(Protocol):
    """It begins before anyone sees it, and ends once."""

    @property
    def ready(self) -> Ready:
        """What it says of itself."""
        ...

    @property
    def name(self) -> str:
        """A name for logs and errors."""
        ...

    @property
    def pid(self) -> int | None:
        """The id of the process, if it is one here."""
        ...

    @property
    def is_running(self) -> bool: ...

    async def is_reachable(self) -> bool:
        """Whether requests can get to it, as far as that can be learned without one."""
        ...

    async def memory(self) -> Mapping[str, int]:
        """Return what it takes of this machine now, by pool; empty once it has ended."""
        ...

    def stderr_lines(self) -> list[str]:
        """Return all lines of its log that are kept."""
        ...

    def stderr_tail(self) -> list[str]:
        """Return the last of them: those for an error message."""
        ...

    async def wait(self) -> int:
        """Wait until it has ended; return its exit status."""
        ...

    def describe_exit(self) -> str:
        """Say how it ended, as the rest of a sentence about a worker."""
        ...

    async def stop(self) -> None:
        """End it, and return when nothing is left of it."""
        ...

    async def kill(self) -> None:
        """The same at once."""
        ...


class WorkerAnswer(Protocol):
    """An answer that a worker has begun."""

    @property
    def content_type(self) -> str:
        """Its media type; empty if the worker does not say."""

    async def read(self) -> bytes:
        """Return what has arrived of it, waiting for something if need be; ``b""`` at its end."""
        ...

    async def read_all(self) -> bytes:
        """Return the rest of it."""
        ...


class Worker(Protocol):
    """A model that can be asked: its life, and the way to talk to it."""

    engine: Engine
    model: str
    requests: OpenRequests

    @property
    def process(self) -> WorkerHandle:
        """Whether it lives, and how it ended."""
        ...

    @property
    def ready(self) -> Ready:
        """What it said of itself when it was there."""
        ...

    @property
    def open_requests(self) -> int:
        """How many requests it has."""
        ...

    @property
    def last_output_at(self) -> float:
        """When the last bytes of any answer came, by the event loop's clock; ``-inf`` before the first."""
        ...

    def send(self, task: Task, payload: Payload) -> AbstractAsyncContextManager[WorkerAnswer]:
        """Send a request and yield the answer as it comes, in the engine's words; leaving cancels the work.

        Raises:
            ModelhostError: the worker refused the request (translated by its engine), failed or is gone.
        """
        ...

    def stream(self, task: Task, body: dict[str, Any]) -> AbstractAsyncContextManager[EventBlocks]:
        """Send ``body`` and yield the answer's events, in the host's words; leaving and errors as with :meth:`send`."""
        ...

    async def call(self, task: Task, payload: Payload) -> Any:
        """Send a request and return the JSON of the whole answer, in the host's words; raises as :meth:`send`."""
        ...

    async def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the engine answers to ``body``, or tells of itself without one; raises as :meth:`send`.

        It is no work: nobody watches how long it takes.
        """
        ...

    def listen(
        self, path: str, body: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[AsyncGenerator[Mapping[str, Any], None]]:
        """Send ``body`` and yield the events of the answer; otherwise as :meth:`ask`."""
        ...

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        """Return the worker's error answer as an error of ours."""
        ...

    def silent_seconds(self, now: float) -> float | None:
        """Return for how long it has produced nothing although it had work; ``None`` while it has none.

        Work about which engines are silent by nature does not count.
        """
        ...

    def end_stalled_requests(self, now: float, patience_seconds: float) -> list[float]:
        """Have the requests fail about which it has been silent for too long; return for how long each."""
        ...

    async def end_stalled(self, seconds: float) -> None:
        """Kill it, which has been silent for ``seconds``; its requests fail with a :class:`WorkerCrashed` that says so.
        To be closed afterwards like one that crashed."""
        ...

    async def end_unreachable(self) -> None:
        """Kill it, at whose address nobody listens; to be closed afterwards like one that crashed."""
        ...

    async def memory(self) -> Mapping[str, int]:
        """Return what it takes now, by pool (``ram``, ``gpu:0`` ...); as :meth:`WorkerHandle.memory`."""
        ...

    async def close(self, explain: endings.MakeError = ...) -> Mapping[str, int]:
        """End it, if it still runs, and give up everything that belonged to it.

        Requests at work fail with what ``explain`` makes, or as after a crash if it had ended by itself.

        Returns:
            The memory that came back, by pool, measured before; empty if it had ended already.
        """
        ...

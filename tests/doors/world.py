"""A host inside this process, with a scripted worker and perhaps a server of tools, and what is seen of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar, cast

import httpx2
from starlette.types import ASGIApp

from modelhost.errors import SessionNotFound
from modelhost.exchange.events import Relayed
from modelhost.host import Host
from modelhost.http.app import build_app
from modelhost.http.listening import Server
from modelhost.llm import LLM
from tests.support.eventually import eventually_async
from tests.support.memory_transport import MemoryTransport

T = TypeVar("T")
TOOLS = "stub"
SLOTS = 2
PLACES = 2
"""In the queue."""


class World:
    """What all tests over one host share; each leaves it idle."""

    def __init__(self, host: Host, *, llm: LLM | None = None) -> None:
        self.host = host
        self.relayed: list[bool] = []
        """For each answer that was opened by HTTP: whether its bytes went through."""
        self._llm = llm
        self._things = AsyncExitStack()
        self._apps: dict[bool, ASGIApp] = {}
        self._clients: dict[bool, httpx2.AsyncClient] = {}
        self._of_socket: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._things.aclose()

    @property
    def llm(self) -> LLM:
        assert self._llm is not None
        return self._llm

    def app(self, *, relays: bool) -> ASGIApp:
        """The application itself; without ``relays`` all its answers are made of events."""
        if relays not in self._apps:
            self._apps[relays] = build_app(cast("Host", _Observed(self, relays=relays)))
        return self._apps[relays]

    def client_in_memory(self, *, relays: bool) -> httpx2.AsyncClient:
        """A client of the application itself; without ``relays`` all its answers are made of events."""
        if relays not in self._clients:
            self._clients[relays] = _client(MemoryTransport(self.app(relays=relays)), "http://127.0.0.1")
            self._things.push_async_callback(self._clients[relays].aclose)
        return self._clients[relays]

    @property
    def client_of_socket(self) -> httpx2.AsyncClient:
        """A client of the server that listens, once :meth:`listen` has been called."""
        assert self._of_socket is not None
        return self._of_socket

    async def listen(self) -> None:
        """Have the host listen at a port, as ``modelhost serve`` does."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        is_listening = asyncio.Event()
        server = Server(self.host, mcp_port=None, backlog=16, on_listening=is_listening.set)
        serving = asyncio.create_task(server.serve(sockets=[listener]))

        async def end() -> None:
            server.stop_gracefully()
            await serving

        self._things.push_async_callback(end)
        await is_listening.wait()
        self._of_socket = _client(httpx2.AsyncHTTPTransport(), f"http://127.0.0.1:{listener.getsockname()[1]}")
        self._things.push_async_callback(self._of_socket.aclose)

    # What is seen of the host.

    @property
    def in_flight(self) -> int:
        """Requests that a worker has."""
        (model,) = self.host.status().models
        return model.in_flight

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        (model,) = self.host.status().models
        return model.queue_length

    @property
    def tool_calls(self) -> tuple[int, int]:
        """Calls of the host's tools: all that were made, and those at work."""
        status = self.host.toolbox.hub.status(TOOLS)
        return status.calls, status.in_flight

    async def idle(self) -> None:
        """Wait until nothing is at work."""
        await eventually_async(lambda: self.in_flight == self.waiting == 0)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work``, of the host, gives."""
        return await work if self._llm is None else await asyncio.to_thread(self._llm.wait_for, work)

    async def engine(self) -> dict[str, Any]:
        """What the worker tells of itself: the ``last_body`` that it got, how many requests were ``cancelled``."""
        worker = self.host.models[0].worker
        assert worker is not None
        state: dict[str, Any] = await self.run(worker.fetch("/scripted/state"))
        return state

    async def remembered(self, session: str) -> list[str]:
        """What was said in a session."""
        try:
            found = await self.run(self.host.state.sessions.get(session))
        except SessionNotFound:
            return []
        return [str(message["content"]) for message in found.messages]

    async def agree(self, question: str, *, approve: bool) -> None:
        """Answer whether a call may run."""

        async def answer() -> None:
            self.host.questions.answer_approval(question, is_approved=approve)

        await self.run(answer())

    @asynccontextmanager
    async def occupied(self, requests: int) -> AsyncIterator[None]:
        """So many requests that do not end by themselves are at work or wait."""
        tasks: list[asyncio.Task[Any]] = []

        async def begin() -> None:
            tasks.extend(asyncio.create_task(self.host.chat("/hang 0")) for _ in range(requests))

        async def end() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        await self.run(begin())
        try:
            await eventually_async(lambda: self.in_flight + self.waiting == requests)
            yield
        finally:
            await self.run(end())


class _Observed:
    """A host as HTTP sees it: it is noted, and may be forbidden, that bytes go through."""

    def __init__(self, world: World, *, relays: bool) -> None:
        self._world = world
        self._relays = relays

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.host, name)

    @asynccontextmanager
    async def open(self, *arguments: Any, may_relay: bool = False, **options: Any) -> AsyncIterator[Any]:
        async with self._world.host.open(*arguments, may_relay=may_relay and self._relays, **options) as answer:
            self._world.relayed.append(isinstance(answer, Relayed))
            yield answer


def _client(transport: httpx2.AsyncBaseTransport, url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=transport, base_url=url, timeout=60)

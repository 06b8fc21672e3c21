"""``GET /v1/models/events``, as an ASGI application, against a host in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from modelhost.errors import ShuttingDown
from modelhost.http.admin.model_events import EventsEndpoint
from modelhost.models.residency.status import ModelEvent, State
from tests.unit.operations.fake_host import NOW, FakeHost, model_status, ready

SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "path": "/v1/models/events", "headers": []}


class Listener:
    """A client; while ``reads`` is not set, its connection takes nothing."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.body = b""
        self.status: int | None = None
        self.is_complete = False
        self._grew = asyncio.Condition()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        async with self._grew:
            self.status = message.get("status", self.status)
            self.body += message.get("body", b"")
            if message["type"] == "http.response.body":
                self.is_complete = not message.get("more_body", False)
            self._grew.notify_all()

    async def until(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """Return the events once there are ``count``."""
        await self.until_true(lambda: len(self.events()) >= count)
        return self.events()

    async def until_true(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self._grew:
            await self._grew.wait_for(is_so)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        blocks = [block.decode().split("\n") for block in self.body.split(b"\n\n")]
        return [(block[0].removeprefix("event: "), json.loads(block[1][6:])) for block in blocks if len(block) == 2]


@asynccontextmanager
async def listening(
    host: FakeHost, *, keep_alive_seconds: float = 60, stopping: asyncio.Event | None = None
) -> AsyncIterator[tuple[Listener, asyncio.Task[None]]]:
    listener = Listener()
    endpoint = EventsEndpoint(host, keep_alive_seconds=keep_alive_seconds, stopping=stopping or asyncio.Event())
    answering = asyncio.create_task(endpoint(SCOPE, listener.receive, listener.send))
    try:
        yield listener, answering
    finally:
        listener.left.set()
        listener.reads.set()
        async with asyncio.timeout(5):
            await answering


def progress(fraction: float) -> ModelEvent:
    return ModelEvent(at=NOW, kind="progress", model="a", state=State.LOADING, activity="load", progress=fraction)


async def test_the_state_of_every_model_comes_first_and_then_what_happens() -> None:
    host = FakeHost(ready("a"), model_status("b"))
    async with listening(host) as (listener, _):
        first = await listener.until(2)
        assert [(kind, data["model"], data["state"]) for kind, data in first] == [
            ("state", "a", "ready"),
            ("state", "b", "unloaded"),
        ]
        host.change("b", State.LOADING)
        host.feed.publish(ModelEvent(at=NOW, kind="registry", model="", message="models.yaml: line 3"))
        *_, state, registry = await listener.until(4)
        assert (state[0], state[1]["state"]) == ("state", "loading")
        assert (registry[0], registry[1]["message"]) == ("registry", "models.yaml: line 3")
        assert listener.status == 200


async def test_every_listener_is_told() -> None:
    host = FakeHost(ready("a"))
    async with listening(host) as (one, _), listening(host) as (other, _):
        for listener in (one, other):
            await listener.until(1)
        host.change("a", State.STOPPING)
        for listener in (one, other):
            assert (await listener.until(2))[-1][1]["state"] == "stopping"


async def test_a_listener_that_leaves_is_forgotten() -> None:
    host = FakeHost(ready("a"))
    async with listening(host) as (listener, answering):
        await listener.until(1)
        listener.left.set()
        async with asyncio.timeout(5):
            await answering
        assert not host.feed.has_subscribers


async def test_the_stream_ends_whole_when_the_server_stops_and_when_the_host_does() -> None:
    stopping = asyncio.Event()
    for end in (stopping.set, None):
        host = FakeHost(ready("a"))
        async with listening(host, stopping=stopping if end else None) as (listener, answering):
            await listener.until(1)
            if end:
                end()
            else:
                host.feed.close()
            async with asyncio.timeout(5):
                await answering
            assert listener.is_complete
            assert not host.feed.has_subscribers


async def test_a_slow_listener_holds_nobody_up_and_learns_the_newest() -> None:
    host = FakeHost(ready("a"))
    async with listening(host) as (slow, _), listening(host) as (quick, _):
        await slow.until(1)
        slow.reads.clear()
        for step in range(1000):
            host.feed.publish(progress(step / 1000))
            await asyncio.sleep(0)
        host.change("a", State.READY)
        await quick.until(3)
        slow.reads.set()
        await slow.until_true(lambda: len(slow.events()) >= 3 and slow.events()[-1][1]["state"] == "ready")
        steps = [data["progress"] for kind, data in slow.events() if kind == "progress"]
        assert steps[-1] == 0.999
        assert len(steps) <= 3


async def test_silence_is_filled_with_comments() -> None:
    async with listening(FakeHost(ready("a")), keep_alive_seconds=0.01) as (listener, _):
        await listener.until(1)
        await listener.until_true(lambda: b": keep-alive\n\n" in listener.body)


async def test_an_error_of_the_host_is_the_last_event() -> None:
    class Broken(FakeHost):
        @asynccontextmanager
        async def events(self) -> AsyncIterator[AsyncIterator[ModelEvent]]:
            async def told() -> AsyncIterator[ModelEvent]:
                yield progress(0.5)
                raise ShuttingDown("The host is being stopped.")

            yield told()

    async with listening(Broken()) as (listener, answering):
        async with asyncio.timeout(5):
            await answering
        assert listener.is_complete
        assert b'"code":"shutting_down"' in listener.body

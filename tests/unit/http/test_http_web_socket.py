"""A WebSocket of a door, and how long one of the Responses API may stay open, without a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from starlette.types import Message

from modelhost.disconnect import ClientDisconnected
from modelhost.http.responses.running import Responses
from modelhost.http.responses.websocket import ResponsesSocket
from modelhost.http.web_socket import MAX_WAITING, WebSocket, accepted


class Client:
    """What a client sends, and what it gets."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[Message] = asyncio.Queue()
        self.got: list[Message] = []
        self.is_gone = False

    def says(self, text: str) -> None:
        self.coming.put_nowait({"type": "websocket.receive", "text": text})

    def leaves(self) -> None:
        self.coming.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def send(self, message: Message) -> None:
        if self.is_gone:
            raise OSError("the client left")
        self.got.append(message)


@pytest.fixture
def client() -> Client:
    return Client()


NEVER = asyncio.Event()


async def next_of(socket: WebSocket, *, until: asyncio.Event = NEVER, seconds: float = 5) -> str | bytes | None:
    return await socket.next(until=until, seconds=seconds)


async def test_messages_come_one_after_the_other(client: Client) -> None:
    async with accepted(client.coming.get, client.send) as socket:
        client.says("a")
        client.coming.put_nowait({"type": "websocket.receive", "bytes": b"b"})
        assert [await next_of(socket), await next_of(socket)] == ["a", b"b"]
    assert client.got == [{"type": "websocket.accept"}]


async def test_a_client_that_leaves_is_noticed_by_whoever_reads_or_sends(client: Client) -> None:
    async with accepted(client.coming.get, client.send) as socket:
        client.leaves()
        with pytest.raises(ClientDisconnected):
            await next_of(socket)
        with pytest.raises(ClientDisconnected):
            await socket.send({})
        await socket.disconnected()


async def test_a_client_that_is_gone_when_something_is_sent_has_left(client: Client) -> None:
    async with accepted(client.coming.get, client.send) as socket:
        client.is_gone = True
        with pytest.raises(ClientDisconnected):
            await socket.send({})
        await socket.disconnected()


async def test_the_wait_for_a_message_ends_with_an_event_or_its_time(client: Client) -> None:
    stopping = asyncio.Event()
    async with accepted(client.coming.get, client.send) as socket:
        waiting = asyncio.create_task(next_of(socket, until=stopping))
        await asyncio.sleep(0)
        stopping.set()
        assert await waiting is None
        assert await next_of(socket, until=stopping) is None
        assert await next_of(socket, seconds=0) is None
        assert await next_of(socket, seconds=0.001) is None


async def test_too_many_messages_ahead_close_it(client: Client) -> None:
    async with accepted(client.coming.get, client.send) as socket:
        for _ in range(MAX_WAITING + 1):
            client.says("a")
        await socket.disconnected()
    assert (client.got[-1]["type"], client.got[-1]["code"]) == ("websocket.close", 1008)


async def test_a_socket_is_closed_when_it_has_been_open_for_long(client: Client) -> None:
    app = ResponsesSocket(cast("Responses", None), asyncio.Event(), seconds=0)
    await app({"type": "websocket"}, client.coming.get, client.send)
    accept, sent, close = client.got
    error: dict[str, Any] = json.loads(sent["text"])
    assert accept["type"] == "websocket.accept"
    assert (error["type"], error["status"]) == ("error", 400)
    assert error["error"]["code"] == "websocket_connection_limit_reached"
    assert (close["type"], close["code"]) == ("websocket.close", 1000)


async def test_a_host_that_stops_closes_idle_sockets(client: Client) -> None:
    stopping = asyncio.Event()
    stopping.set()
    await ResponsesSocket(cast("Responses", None), stopping)({"type": "websocket"}, client.coming.get, client.send)
    assert (client.got[-1]["type"], client.got[-1]["code"]) == ("websocket.close", 1012)

"""What a connection takes, and for how long it waits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from modelhost.disconnect import ClientDisconnected, Disconnection, cancel_when_told
from modelhost.http.errors import error_answer
from modelhost.http.exchange import Exchange
from modelhost.http.wire.connection import Connection
from modelhost.http.wire.limits import Limits
from tests.support.asgi import greeting
from tests.support.transports import HeldTransport

pytestmark = pytest.mark.usefixtures("virtual_time")

LIMITS = Limits(max_connections=2, header_seconds=10, body_seconds=30, slow_reader_seconds=60)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


class Wire:
    """Connections to ``app``, which share a server."""

    def __init__(self, app: ASGIApp = greeting) -> None:
        self.state = ServerState()
        self._config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=75)

    def connect(self, **state: Any) -> tuple[Connection, HeldTransport]:
        connection = Connection(LIMITS, lambda _path, error: error_answer(error), self._config, self.state, state)
        transport = HeldTransport(connection)
        connection.connection_made(transport)
        return connection, transport

    async def answers(self) -> None:
        """Wait until all requests are answered."""
        while self.state.tasks:
            await asyncio.wait(self.state.tasks)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def refusal(transport: HeldTransport) -> tuple[int, str]:
    """The status and the code of the one answer that was written, after which nothing is."""
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    assert b"content-length: %d" % len(body) in head
    assert transport.has_ended_writing
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def now() -> float:
    return asyncio.get_running_loop().time()


async def read_body(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body, once it is there."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def _waiting(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and wait until the client has left, which is noted in the scope."""
    exchange = Exchange(scope, receive, send)
    await exchange.body(1_000_000)

    async def work() -> None:
        async with exchange.until_disconnected():
            scope["state"]["waits"].set()
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnected):
        await work()
    scope["state"]["has_left"].set()


@pytest.mark.parametrize("size", [2, 100_000], ids=["short", "a body at which reading pauses"])
async def test_what_works_for_a_client_ends_when_that_disconnects(size: int) -> None:
    waits, has_left = asyncio.Event(), asyncio.Event()
    wire = Wire(_waiting)
    connection, transport = wire.connect(waits=waits, has_left=has_left)
    connection.data_received(POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
    await waits.wait()
    assert not connection.flow.read_paused
    assert len(wire.state.tasks) == 1
    assert not [task for task in asyncio.all_tasks() if "_watch" in repr(task.get_coro())]
    connection.connection_lost(None)
    await has_left.wait()
    await wire.answers()
    assert not transport.written


async def test_what_a_client_has_left_before_it_is_begun_ends_at_once() -> None:
    disconnection = Disconnection(lambda: None)
    disconnection.tell()

    async def work() -> None:
        async with cancel_when_told(disconnection):
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnected):
        await work()
    disconnection.tell()
    await settle()  # what follows is not cancelled


async def test_ordinary_requests_are_answered_one_after_the_other() -> None:
    wire = Wire()
    connection, transport = wire.connect()
    for _ in range(3):
        connection.data_received(GET + b"\r\n")
        await wire.answers()
    assert transport.written.count(b"200 OK") == 3
    assert not transport.how_closed


@pytest.mark.parametrize(
    "head",
    [
        GET + b"".join(b"X-%d: x\r\n" % number for number in range(100)) + b"\r\n",
        GET + b"X: " + b"x" * 16_000 + b"\r\n\r\n",
        GET + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 15_000) for number in range(5)) + b"\r\n",
        b"GET /" + b"x" * 64_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        GET + b"X: " + b"x" * 270_000,
    ],
    ids=["many", "long", "long together", "address", "endless"],
)
@pytest.mark.parametrize("block_bytes", [1_000, 100_000])
async def test_headers_that_are_too_large_are_refused(head: bytes, block_bytes: int) -> None:
    connection, transport = Wire().connect()
    for start in range(0, len(head), block_bytes):
        connection.data_received(head[start : start + block_bytes])
    assert refusal(transport) == (431, "headers_too_large")


async def test_headers_within_the_limits_are_taken() -> None:
    wire = Wire()
    connection, transport = wire.connect()
    connection.data_received(GET + b"".join(b"X-%d: %s\r\n" % (each, b"x" * 500) for each in range(99)) + b"\r\n")
    await wire.answers()
    assert b"200 OK" in transport.written


async def test_headers_behind_a_body_are_counted_and_are_none_of_the_request() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(scope, receive, send)
        seen.extend(name for name, _ in scope["headers"])

    wire = Wire(app)
    connection, transport = wire.connect()
    connection.data_received(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Late: 1\r\n\r\n")
    await wire.answers()
    assert transport.written.endswith(b"\r\n\r\nhi")
    assert seen == [b"host", b"transfer-encoding"]
    connection, transport = wire.connect()
    connection.data_received(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Late: ")
    for _ in range(70):
        connection.data_received(b"x" * 1_000)
    assert refusal(transport) == (431, "headers_too_large")


async def test_large_body_is_no_large_head() -> None:
    wire = Wire(read_body)
    connection, transport = wire.connect()
    connection.data_received(POST + b"Content-Length: 200000\r\n\r\n")
    for _ in range(20):
        connection.data_received(b"x" * 10_000)
        await settle()
    await wire.answers()
    assert transport.written.count(b"x") == 200_000


async def test_what_is_no_http_is_refused() -> None:
    connection, transport = Wire().connect()
    connection.data_received(b"\x16\x03\x01\x02\x00\x01")
    assert refusal(transport) == (400, "invalid_request")


async def test_client_that_was_refused_has_a_second_to_read_why() -> None:
    connection, transport = Wire().connect()
    connection.data_received(b"nonsense\r\n\r\n")
    connection.data_received(GET + b"\r\n")  # what it goes on to send is nobody's
    assert refusal(transport) == (400, "invalid_request")
    await asyncio.sleep(0.9)
    assert transport.how_closed != "aborted"
    await asyncio.sleep(0.2)
    assert transport.how_closed == "aborted"


async def test_one_client_too_many_is_refused_and_counts_no_more() -> None:
    wire = Wire()
    first, _ = wire.connect()
    second, transport = wire.connect()
    _, third = wire.connect()
    assert refusal(third) == (503, "too_many_connections")
    assert wire.state.connections == {first, second}
    second.data_received(GET + b"\r\n")
    await wire.answers()
    assert b"200 OK" in transport.written
    second.connection_lost(None)
    assert not wire.connect()[1].written


async def test_head_that_does_not_arrive_in_time_is_refused_however_it_trickles() -> None:
    connection, transport = Wire().connect()
    began = now()
    for seconds, byte in enumerate(GET[:10]):
        connection.check(began + seconds)
        connection.data_received(bytes([byte]))
        assert not transport.written
    connection.check(began + 10)
    assert refusal(transport) == (408, "request_timeout")


async def test_client_that_says_nothing_is_closed_without_a_word() -> None:
    connection, transport = Wire().connect()
    connection.check(now() + 9.9)
    assert transport.how_closed != "closed"
    connection.check(now() + 10)
    assert (transport.how_closed, transport.written) == ("closed", b"")


async def test_blank_lines_keep_no_connection_open() -> None:
    wire = Wire()
    connection, transport = wire.connect()
    connection.data_received(GET + b"\r\n")
    await wire.answers()
    began = now()
    for seconds in range(10):
        connection.data_received(b"\r\n")
        connection.check(began + seconds)
    connection.check(began + 10)
    assert transport.written.count(b"408 Request Timeout") == 1


async def test_body_that_stops_is_refused_and_one_that_trickles_is_not() -> None:
    wire = Wire(read_body)
    connection, transport = wire.connect()
    connection.data_received(POST + b"Content-Length: 5\r\n\r\n")
    for _ in range(4):
        await asyncio.sleep(29)
        connection.check(now())
        connection.data_received(b"x")
    await asyncio.sleep(30)
    connection.check(now())
    assert refusal(transport) == (408, "request_timeout")
    await wire.answers()  # the application has been told, and adds nothing
    assert transport.written.count(b"HTTP/1.1") == 1


async def test_answer_that_takes_long_is_no_client_that_takes_long() -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await greeting(scope, receive, send)

    wire = Wire(app)
    connection, transport = wire.connect()
    connection.data_received(GET + b"\r\n")
    connection.data_received(b"GET / HT")  # the next one has begun already
    connection.check(now() + 1000)
    assert not transport.written
    go_on.set()
    await wire.answers()
    assert b"200 OK" in transport.written


async def test_body_that_nobody_waits_for_any_more_ends_the_connection_without_a_second_answer() -> None:
    wire = Wire()
    connection, transport = wire.connect()
    connection.data_received(POST + b"Content-Length: 5\r\n\r\n")
    await wire.answers()
    connection.check(now() + 30)
    assert transport.how_closed == "closed"
    assert transport.written.count(b"HTTP/1.1") == 1


async def test_idle_connection_is_closed_after_its_time() -> None:
    wire = Wire()
    connection, transport = wire.connect()
    connection.data_received(GET + b"\r\n")
    await wire.answers()
    await asyncio.sleep(74)
    connection.check(now())
    assert transport.how_closed != "closed"
    await asyncio.sleep(2)
    assert transport.how_closed == "closed"


async def test_nothing_is_written_into_the_answer_to_another_request() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    wire = Wire(app)
    connection, transport = wire.connect()
    connection.data_received(GET + b"\r\n")
    await settle()
    connection.data_received(b"nonsense\r\n\r\n")
    assert transport.how_closed == "aborted"
    assert transport.written.count(b"HTTP/1.1") == 1
    for task in wire.state.tasks:
        task.cancel()


async def stream(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without end, until the client has left."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    left = asyncio.ensure_future(receive())
    while not left.done():
        await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        await asyncio.sleep(0)


async def test_reader_that_takes_nothing_for_a_minute_is_cut_off_and_stops_the_work() -> None:
    wire = Wire(stream)
    connection, transport = wire.connect()
    connection.data_received(GET + b"\r\n")
    await settle()
    transport.unsent_bytes = 70_000
    connection.pause_writing()
    await settle()
    written = len(transport.written)
    began = now()
    connection.check(began)
    connection.check(began + 59)
    await settle()
    assert (len(transport.written), transport.how_closed) == (written, "")  # nothing piles up
    connection.check(began + 60)
    assert transport.how_closed == "aborted"
    await wire.answers()


async def test_reader_that_takes_a_little_is_not_cut_off() -> None:
    wire = Wire(stream)
    connection, transport = wire.connect()
    connection.data_received(GET + b"\r\n")
    await settle()
    transport.unsent_bytes = 70_000
    connection.pause_writing()
    began = now()
    for minutes in range(10):
        connection.check(began + 59 * minutes)
        transport.unsent_bytes -= 1
    assert not transport.how_closed
    connection.resume_writing()
    connection.check(began + 1000)
    connection.pause_writing()
    connection.check(began + 1059)
    assert not transport.how_closed
    transport.abort()
    await wire.answers()


async def test_reader_that_leaves_the_end_of_its_answer_lying_is_cut_off() -> None:
    wire = Wire()
    connection, transport = wire.connect()
    transport.unsent_bytes = 5
    connection.data_received(GET + b"Connection: close\r\n\r\n")
    await wire.answers()
    assert transport.how_closed == "closed"
    began = now()
    aborted: list[bool] = []
    transport.abort = lambda: aborted.append(True)  # type: ignore[method-assign]
    connection.check(began)
    connection.check(began + 59)
    assert not aborted
    connection.check(began + 60)
    assert aborted


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n",
        GET + b"Host: localhost\r\n",
        GET + b"HOST: other\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n",
        b"GET / HTTP/1.1\r\nHost: evil@localhost\r\n",
    ],
)
async def test_request_that_does_not_name_one_host_is_refused(head: bytes) -> None:
    connection, transport = Wire().connect()
    connection.data_received(head + b"\r\n")
    assert refusal(transport) == (400, "invalid_request")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n",
        b"GET / HTTP/1.1\r\nHost: model_host.example:80 \t\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n",
    ],
)
async def test_request_that_names_one_host_is_taken(head: bytes) -> None:
    wire = Wire()
    connection, transport = wire.connect()
    connection.data_received(head + b"\r\n")
    await wire.answers()
    assert b"200 OK" in transport.written


@pytest.mark.parametrize("value", [b"gzip, chunked", b"gzip\r\nTransfer-Encoding: chunked", b"chunked, chunked"])
async def test_transfer_coding_that_is_not_read_here_is_refused(value: bytes) -> None:
    connection, transport = Wire().connect()
    connection.data_received(POST + b"Transfer-Encoding: " + value + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    assert refusal(transport) == (400, "invalid_request")


async def test_each_request_of_a_connection_names_its_host() -> None:
    wire = Wire()
    connection, transport = wire.connect()
    for _ in range(2):
        connection.data_received(GET + b"\r\n")
        await wire.answers()
    assert transport.written.count(b"200 OK") == 2
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert b"HTTP/1.1 400 Bad Request" in transport.written


async def two_parts(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer without a length."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one ", "more_body": True})
    await send({"type": "http.response.body", "body": b"two", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def test_stream_for_http_1_0_has_no_chunks_and_ends_with_the_connection() -> None:
    wire = Wire(two_parts)
    connection, transport = wire.connect()
    connection.data_received(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    await wire.answers()
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert (body, transport.how_closed) == (b"one two", "closed")


async def test_stream_for_http_1_1_has_chunks() -> None:
    wire = Wire(two_parts)
    connection, transport = wire.connect()
    connection.data_received(GET + b"\r\n")
    await wire.answers()
    assert transport.written.endswith(b"\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_answer_of_a_length_is_the_same_for_http_1_0() -> None:
    wire = Wire()
    connection, transport = wire.connect()
    connection.data_received(b"GET / HTTP/1.0\r\n\r\n")
    await wire.answers()
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert (b"content-length: 5" in head, body, transport.how_closed) == (True, b"hello", "closed")

"""What a connection takes, and for how long it waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from modelhost.disconnect import ClientDisconnected, Disconnection, cancel_when_told
from modelhost.http.exchange import Exchange
from tests.support.asgi import greeting
from tests.support.wire import GET, POST, Wire, refusal, settle

pytestmark = pytest.mark.usefixtures("virtual_time")


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

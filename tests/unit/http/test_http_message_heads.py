"""Heads of requests that name one host, and answers in the form of the version of HTTP."""

from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send

from tests.support.wire import GET, POST, Wire, refusal

pytestmark = pytest.mark.usefixtures("virtual_time")


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

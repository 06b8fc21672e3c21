"""Faults that nobody foresaw: an error object with status 500, and the traceback in the log."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, cast

import orjson
import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from modelhost.config.settings import Settings
from modelhost.host import Host
from modelhost.http.edge import Edge
from modelhost.http.exchange import Exchange
from modelhost.http.rest import build_mcp

SCOPE = {"type": "http", "method": "GET", "path": "/somewhere", "headers": []}
BEGUN: MutableMapping[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}


async def _nothing() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


class _Sent:
    """What was sent."""

    def __init__(self) -> None:
        self.messages: list[MutableMapping[str, Any]] = []

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        self.messages.append(message)

    @property
    def error(self) -> Any:
        return orjson.loads(b"".join(message.get("body", b"") for message in self.messages))["error"]


async def test_an_application_that_fails_is_answered_for() -> None:
    async def failing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise KeyError("nobody foresaw this")

    sent = _Sent()
    with capture_logs() as logs:
        await Edge(failing, settings=Settings())(dict(SCOPE), _nothing, sent)
    assert sent.messages[0]["status"] == 500
    assert (sent.error["code"], sent.error["type"]) == ("internal_error", "server_error")
    assert "foresaw" not in str(sent.error)
    assert [(log["event"], log["path"]) for log in logs] == [("request_failed", "/somewhere")]


async def test_a_fault_of_an_mcp_server_is_an_error_of_json_rpc() -> None:
    nothing_works = cast("Host", object())
    sent = _Sent()
    with pytest.raises(AttributeError):  # for the server's log
        await build_mcp(nothing_works, stopping=asyncio.Event())({**SCOPE, "path": "/mcp"}, _nothing, sent)
    assert sent.messages[0]["status"] == 500
    assert (sent.error["code"], sent.error["data"]["code"]) == (-32603, "internal_error")


async def test_an_answer_that_has_begun_is_cut_off() -> None:
    async def failing(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(dict(BEGUN))
        raise KeyError("nobody foresaw this")

    sent = _Sent()
    with pytest.raises(KeyError):
        await Edge(failing, settings=Settings())(dict(SCOPE), _nothing, sent)
    assert [message["type"] for message in sent.messages] == ["http.response.start"]


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_fault_in_an_exchange_is_an_answer_or_the_last_event_of_its_stream(has_begun: bool) -> None:
    sent = _Sent()
    exchange = Exchange(dict(SCOPE), _nothing, sent)

    async def work() -> None:
        if has_begun:
            await exchange.write(b"data: {}\n\n")
        raise KeyError("nobody foresaw this")

    with capture_logs() as logs:
        assert await exchange.settle(work()) == (500, "internal_error")
    assert [log["event"] for log in logs] == ["request_failed"]
    if has_begun:
        event = sent.messages[-2]["body"]
        assert orjson.loads(event.removeprefix(b"data: "))["error"]["code"] == "internal_error"
    else:
        assert sent.error["code"] == "internal_error"


@pytest.mark.parametrize(("last", "status"), [(b"data: {}\n\ndata: [DONE]\n\n", 200), (b"data: {}\n\n", 499)])
async def test_who_leaves_at_the_last_event_has_been_answered(last: bytes, status: int) -> None:
    exchange = Exchange(dict(SCOPE), _nothing, _Sent())

    async def work() -> None:
        async with exchange.event_stream(), exchange.until_disconnected():
            await exchange.write(last)
            await asyncio.Event().wait()

    assert await exchange.settle(work()) == (status, None)

"""The servers over HTTP as an ASGI application: what comes in besides well-behaved clients, and how streams end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from structlog.testing import capture_logs

from modelhost.errors import HostFault
from modelhost.mcp_servers.http import McpHttp
from modelhost.mcp_servers.server import build_server
from tests.support.mcp_backend import FakeBackend

LIMIT = 4000
MAX_SESSIONS = 3
JSON = "application/json"
BOTH = "application/json, text/event-stream"
HELLO = {"name": "chat_completion", "arguments": {"messages": [{"role": "user", "content": "Hello"}]}}
GREETING = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
}


class Exchange:
    """One request to the application, and what it answers."""

    def __init__(self, http: McpHttp, method: str, body: bytes, headers: dict[str, str]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.began = asyncio.Event()
        self.leave = asyncio.Event()
        self._incoming = [{"type": "http.request", "body": body, "more_body": False}]
        scope = {
            "type": "http",
            "method": method,
            "path": "/mcp",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "modelhost.actor": "somebody",
        }
        self.task = asyncio.create_task(http.answer("all", scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._incoming:
            return self._incoming.pop()
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            self.began.set()
        else:
            self.body += message.get("body", b"")

    async def done(self) -> Exchange:
        async with asyncio.timeout(10):
            await self.task
        return self

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class World:
    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.stopping = asyncio.Event()
        self.http = McpHttp(
            lambda face: build_server(face, self.backend),
            max_body_bytes=LIMIT,
            stopping=self.stopping,
            max_sessions=MAX_SESSIONS,
        )

    def begin(self, body: Any = b"", method: str = "POST", **headers: str) -> Exchange:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Exchange(self.http, method, raw, {"host": "127.0.0.1:1", **named})

    async def post(self, body: Any, **headers: str) -> Exchange:
        return await self.begin(body, **headers).done()

    async def session(self) -> dict[str, str]:
        """Shake hands; return the headers of what follows."""
        request = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": GREETING}
        answer = await self.post(request, accept=BOTH, content_type=JSON)
        assert answer.status == 200
        headers = {"mcp_session_id": answer.headers["mcp-session-id"], "accept": BOTH, "content_type": JSON}
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await self.post(note, **headers)).status == 202
        return headers


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.stopping.set()
    await asyncio.sleep(0)


@pytest.mark.parametrize("headers", [{}, {"accept": "text/html", "content_type": "text/plain"}])
async def test_plain_request_gets_one_json_answer(world: World, headers: dict[str, str]) -> None:
    answer = await world.post({"method": "tools/call", "params": HELLO}, **headers)
    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    assert answer.json["id"] is None
    assert answer.json["result"]["content"][0]["text"] == "Hello."
    assert "mcp-session-id" not in answer.headers


async def test_plain_handshake_and_ping_are_answered(world: World) -> None:
    greeted = await world.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
    assert greeted.json["result"]["serverInfo"]["name"] == "modelhost"
    assert greeted.json["result"]["protocolVersion"] == "2025-11-25"
    assert (await world.post({"id": "p", "method": "ping"})).json == {"jsonrpc": "2.0", "id": "p", "result": {}}


async def test_ping_of_the_modern_era_is_answered(world: World) -> None:
    answer = await world.post(
        {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": MODERN}},
        mcp_protocol_version="2026-07-28",
        mcp_method="ping",
        accept=BOTH,
        content_type=JSON,
    )
    assert (answer.status, answer.json["result"]["resultType"]) == (200, "complete")


async def test_plain_mistakes_are_told(world: World) -> None:
    unknown = await world.post({"id": 4, "method": "tools/none"})
    assert (unknown.json["id"], unknown.json["error"]["code"]) == (4, -32601)
    assert (await world.post({"id": 4, "method": "tools/call", "params": {}})).json["error"]["code"] == -32602
    broken = await world.post(b"{")
    assert (broken.status, broken.json["error"]["code"]) == (400, -32700)
    large = await world.post(b"x" * (LIMIT + 1))
    assert large.status == 413
    assert large.json["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({}, "there is no method"),
        ([], "a message is a JSON object"),
        ({"jsonrpc": "1.0", "id": 1, "method": "notifications/x"}, 'jsonrpc is "2.0"'),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, "method is text"),
        ({"jsonrpc": "2.0", "id": True, "method": "notifications/x"}, "id is text or a number"),
        ({"jsonrpc": "2.0", "id": 1, "error": "none"}, "it is no message of JSON-RPC 2.0"),
    ],
)
@pytest.mark.parametrize("in_session", [True, False])
async def test_what_is_no_message_is_told_in_one_sentence(
    world: World, message: Any, said: str, in_session: bool
) -> None:
    headers = await world.session() if in_session else {"accept": BOTH, "content_type": JSON}
    answer = await world.post(message, **headers)
    assert answer.status == 400
    assert answer.json["error"] == {"code": -32600, "message": f"Invalid Request: {said}"}
    assert answer.json["id"] == (message["id"] if said[:2] != "id" and "id" in message else None)


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
async def test_a_refusal_without_a_session_names_none(world: World, method: str) -> None:
    answer = await world.begin(method=method, accept="text/event-stream").done()
    assert answer.status >= 400
    assert "mcp-session-id" not in answer.headers
    refused = await world.post(
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": GREETING}, accept="text/css", content_type=JSON
    )
    assert refused.status == 406
    assert "mcp-session-id" not in refused.headers


async def test_body_up_to_the_limit_is_taken_in_a_session_too(world: World) -> None:
    headers = await world.session()
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    padded = json.dumps(request).encode().ljust(LIMIT)
    assert (await world.post(padded, **headers)).status == 200
    assert (await world.post(padded + b" ", **headers)).status == 413


async def test_blanks_behind_a_header_are_no_part_of_it(world: World) -> None:
    answer = await world.post(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {**HELLO, "_meta": MODERN}},
        mcp_protocol_version="2026-07-28",
        mcp_method="tools/call",
        mcp_name=" chat_completion \t",
        accept=BOTH,
        content_type=JSON,
    )
    assert answer.status == 200


async def test_session_of_another_life_of_the_host_is_not_found(world: World) -> None:
    headers = await world.session()
    assert (await world.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, **headers)).status == 200
    headers["mcp_session_id"] = "0" * 32
    assert (await world.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, **headers)).status == 404


@pytest.mark.promise("vllm-crush.logging.structured")
async def test_calls_are_noted_with_who_made_them(world: World) -> None:
    await world.post({"method": "tools/call", "params": HELLO})
    headers = await world.session()
    await world.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": HELLO}, **headers)
    assert [call.caller.key_name for call in world.backend.calls] == ["somebody", "somebody"]


@pytest.mark.parametrize("way", ["plain", "session", "modern"])
async def test_client_that_leaves_ends_the_generation(world: World, way: str) -> None:
    headers: dict[str, str] = {}
    params: dict[str, Any] = HELLO
    if way == "session":
        headers = await world.session()
    elif way == "modern":
        params = {**HELLO, "_meta": MODERN}
        headers = {
            "mcp_protocol_version": "2026-07-28",
            "mcp_method": "tools/call",
            "mcp_name": "chat_completion",
            "accept": BOTH,
            "content_type": JSON,
        }
    world.backend.holds = True
    exchange = world.begin({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, **headers)
    async with asyncio.timeout(10):
        await world.backend.was_asked.wait()
        assert not world.backend.was_left.is_set()
        exchange.leave.set()
        await world.backend.was_left.wait()
        await exchange.task
    assert [call.outcome for call in world.backend.calls] == ["cancelled"]


async def test_notification_cancels_a_call_of_a_session(world: World) -> None:
    headers = await world.session()
    world.backend.holds = True
    call = world.begin({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": HELLO}, **headers)
    async with asyncio.timeout(10):
        await world.backend.was_asked.wait()
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        assert (await world.post(note, **headers)).status == 202
        await world.backend.was_left.wait()
        await call.task


async def test_stopping_ends_open_streams_and_lets_calls_finish(world: World) -> None:
    headers = await world.session()
    stream = world.begin(method="GET", **{**headers, "accept": "text/event-stream"})
    await stream.began.wait()
    world.backend.holds = True
    call = world.begin({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": HELLO}, **headers)
    await world.backend.was_asked.wait()
    world.stopping.set()
    await stream.done()
    assert not call.task.done()
    assert not world.backend.was_left.is_set()
    call.leave.set()
    await call.done()


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


async def test_the_oldest_idle_session_ends_when_there_is_no_room_for_another(world: World) -> None:
    first, second, third = [await world.session() for _ in range(MAX_SESSIONS)]
    assert (await world.post(LIST, **first)).status == 200  # from now on the second is the oldest
    fourth = await world.session()
    statuses = [(await world.post(LIST, **session)).status for session in (first, second, third, fourth)]
    assert statuses == [200, 404, 200, 200]


async def test_many_abandoned_sessions_lock_nobody_out(world: World) -> None:
    for _ in range(5 * MAX_SESSIONS):
        last = await world.session()
    assert (await world.post(LIST, **last)).status == 200


async def test_a_session_at_work_never_makes_room(world: World) -> None:
    sessions = [await world.session() for _ in range(MAX_SESSIONS)]
    streams = [world.begin(method="GET", **session) for session in sessions]
    for stream in streams:
        async with asyncio.timeout(10):
            await stream.began.wait()
    request = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": GREETING}
    assert (await world.post(request, accept=BOTH, content_type=JSON)).status == 503
    streams[1].leave.set()
    await streams[1].done()
    await world.session()
    statuses = [(await world.post(LIST, **session)).status for session in sessions]
    assert statuses == [200, 404, 200]
    for stream in (streams[0], streams[2]):
        stream.leave.set()
        await stream.done()


async def test_a_session_that_its_client_ends_makes_room(world: World) -> None:
    first, second, third = [await world.session() for _ in range(MAX_SESSIONS)]
    assert (await world.begin(method="DELETE", **third).done()).status == 200
    await world.session()
    assert [(await world.post(LIST, **session)).status for session in (first, second)] == [200, 200]


@pytest.mark.parametrize(
    "arguments", [json.dumps(HELLO["arguments"]), {"messages": json.dumps(HELLO["arguments"]["messages"])}]
)
async def test_arguments_may_be_json_text(world: World, arguments: Any) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {**HELLO, "arguments": arguments}}
    plain = await world.post(call)
    assert plain.json["result"]["content"][0]["text"] == "Hello."
    in_session = await world.post(call, **await world.session())
    assert b'"text":"Hello."' in in_session.body


async def test_a_server_that_cannot_begin_says_so_and_begins_with_the_next_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def failing(_manager: StreamableHTTPSessionManager) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        raise OSError("no descriptor left")
        yield

    monkeypatch.setattr(StreamableHTTPSessionManager, "run", failing)
    with capture_logs() as logs:
        exchanges = [world.begin(LIST), world.begin(LIST)]
        for exchange in exchanges:
            with pytest.raises(HostFault):
                await exchange.done()
    assert [(log["event"], log["task"]) for log in logs] == [("background_fault", "holding MCP sessions")]
    monkeypatch.undo()
    assert (await world.post(LIST)).status == 200


async def test_sessions_that_end_by_a_fault_are_not_the_end_of_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, fault, ended = StreamableHTTPSessionManager.run, asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        await fault.wait()
        raise OSError("no descriptor left")

    @asynccontextmanager
    async def failing(manager: StreamableHTTPSessionManager) -> AsyncIterator[None]:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                async with run(manager):
                    yield
        finally:
            ended.set()

    monkeypatch.setattr(StreamableHTTPSessionManager, "run", failing)
    session = await world.session()
    stream = world.begin(method="GET", **session)
    async with asyncio.timeout(10):
        await stream.began.wait()
    monkeypatch.undo()
    with capture_logs() as logs:
        fault.set()
        await stream.done()  # it ends, and does not hang
        async with asyncio.timeout(10):
            await ended.wait()
    assert (logs[0]["event"], logs[0]["task"]) == ("background_fault", "holding MCP sessions")
    assert (await world.post(LIST, **session)).status == 404
    assert (await world.post(LIST, **await world.session())).status == 200

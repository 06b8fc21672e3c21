"""Sessions that a server at an address has forgotten, in the words that servers have for it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from modelhost.tools.hub import ToolHub
from modelhost.tools.status import ServerState
from tests.support.eventually import eventually, eventually_async
from tests.support.mcp_http_stub import Refusal, http_stub, rpc_refusal
from tests.support.mcp_peers import free_port, hub_of, listens, node_peers, remote

ADVICE = 'it wants a key; give it as "bearer_token", or in "headers", of its entry in mcp.json'
NOT_FOUND = rpc_refusal(404, -32001, "Session not found")


@pytest.mark.parametrize(
    ("refusal", "last_error"),
    [
        (NOT_FOUND, "its session has expired (HTTP 404)"),
        (rpc_refusal(400, -32000, "Bad Request: No valid session ID provided"), "its session has expired (HTTP 400)"),
        (rpc_refusal(400, -32000, "Bad Request: Server not initialized"), "its session has expired (HTTP 400)"),
        (rpc_refusal(400, -32001, "Session not found"), "its session has expired (HTTP 400)"),
        (
            Refusal(status=400, body="Invalid or missing session ID", content_type="text/plain"),
            "its session has expired (HTTP 400)",
        ),
        (Refusal(status=401), f"answered HTTP 401 X: {ADVICE}"),
    ],
)
async def test_a_forgotten_session_is_begun_anew_and_the_call_made_again(refusal: Refusal, last_error: str) -> None:
    async with http_stub(refusal) as stub, hub_of(remote(stub.url)) as hub:
        stub.forget()
        outcome = await hub.call("sdk_echo", {})
        assert (outcome.text, outcome.was_retried) == ("echo ran", True)
        assert stub.calls == ["echo"]
        status = hub.status("sdk")
        assert (status.state, status.restarts, status.last_error) == (ServerState.READY, 1, last_error)


async def test_what_is_read_is_read_again_in_a_new_session() -> None:
    refusal = rpc_refusal(400, -32000, "Bad Request: No valid session ID provided")
    async with http_stub(refusal) as stub, hub_of(remote(stub.url)) as hub:
        stub.forget()
        assert [each.uri for each in await hub.reading.resources("sdk")] == ["memo://one"]
        assert hub.status("sdk").restarts == 1


@pytest.mark.parametrize(
    "refusal",
    [
        rpc_refusal(400, -32602, "Invalid params: session_name is missing"),
        rpc_refusal(400, -32000, "no such city"),
        Refusal(status=403),
    ],
)
async def test_a_refusal_of_one_call_keeps_the_session(refusal: Refusal) -> None:
    async with http_stub(NOT_FOUND, to_secrets=refusal) as stub, hub_of(remote(stub.url)) as hub:
        assert (await hub.call("sdk_secret", {})).code == "tool_failed"
        assert (stub.handshakes, hub.status("sdk").restarts) == (1, 0)


async def test_a_tool_for_which_we_are_not_authorized_leaves_the_others_as_they_are() -> None:
    async with http_stub(NOT_FOUND, to_secrets=Refusal(status=401)) as stub, hub_of(remote(stub.url)) as hub:
        refused = await hub.call("sdk_secret", {})
        assert refused.code == "tool_server_unavailable"
        assert refused.text == f'The call was not made: the MCP server "sdk" answered HTTP 401 X: {ADVICE}.'
        assert hub.status("sdk").state is ServerState.READY
        assert (await hub.call("sdk_echo", {})).text == "echo ran"
        assert stub.handshakes == 2


@contextmanager
def everything_http(port: int) -> Iterator[str]:
    """The address of the official TypeScript example."""
    process = subprocess.Popen(
        [*node_peers()["server-everything"], "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: listens(port), seconds=20)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


async def test_the_official_typescript_example_is_called_again_after_its_restart() -> None:
    port = free_port()
    with ExitStack() as later:
        with everything_http(port) as url:
            hub = ToolHub([remote(url, "every")])
            await hub.start()
            assert await hub.settled(20)
        try:
            await asyncio.to_thread(later.enter_context, everything_http(port))
            assert "again" in (await hub.call("every_echo", {"message": "again"})).text
            await eventually_async(lambda: hub.status("every").state is ServerState.READY)
            assert hub.status("every").last_error == "its session has expired (HTTP 400)"
        finally:
            await hub.stop()

"""MCP servers that a request names by their addresses: where the host connects to, what they may do, and how long."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from modelhost.errors import FetchFailed, FetchRefused, InvalidRequest, ModelhostError
from modelhost.exchange.requests import RemoteMcpServer
from modelhost.fetching.guard import Guard
from modelhost.meters import METERS
from modelhost.tools.callbacks import ApprovalRequest, CallContext
from modelhost.tools.hub import ToolHub
from modelhost.tools.request_servers import MOST, RequestTools, connected
from modelhost.tools.status import ServerState
from tests.support.mcp_http_stub import HttpStub, Refusal, http_stub
from tests.support.mcp_peers import free_port, hub_of, sdk_http, stub
from tests.support.metrics import metric_value
from tests.support.web import PRIVATE, PUBLIC, guard_of, is_taken_for_public, redirect, resolving, response, web_at

NOT_FOUND = Refusal(status=404)
ENDLESS = 80_000_000
"""More than the host accepts of a server."""


@pytest.fixture(scope="module")
def sdk_url() -> Iterator[str]:
    with sdk_http("streamable-http", free_port()) as url:
        yield url


@pytest.fixture
async def server() -> AsyncIterator[HttpStub]:
    async with http_stub(NOT_FOUND) as started:
        yield started


def named(url: str, name: str = "theirs", **fields: Any) -> RemoteMcpServer:
    return RemoteMcpServer(name=name, url=url, param="mcp_servers[0].url", **fields)


async def refused(*servers: RemoteMcpServer, guard: Guard | None = None) -> ModelhostError:
    with pytest.raises(ModelhostError) as caught:
        async with connected(servers, guard or guard_of()):
            pytest.fail("they are not to be connected")
    return caught.value


async def test_the_tools_of_a_server_are_there_as_long_as_the_request(sdk_url: str) -> None:
    async with connected([named(sdk_url)], guard_of()) as hub:
        assert (await hub.call("theirs_echo", {"text": "a"})).text == "a"
        tool = hub.find("theirs_echo")
        assert tool is not None
        assert (tool.server, tool.tool) == ("theirs", "echo")
    assert [status.state for status in hub.statuses()] == [ServerState.STOPPED]
    assert hub.offered() == ()


async def test_the_older_transport_is_reached_under_its_path() -> None:
    with sdk_http("sse", free_port()) as url:
        async with connected([named(url)], guard_of()) as hub:
            assert (await hub.call("theirs_echo", {"text": "a"})).text == "a"


async def test_a_server_gets_the_authorization_of_the_request(server: HttpStub) -> None:
    async with connected([named(server.url, headers={"Authorization": "Bearer key"})], guard_of()):
        pass
    assert server.authorizations == {"Bearer key"}


async def test_a_request_says_which_tools_it_wants(server: HttpStub) -> None:
    async def tools(**fields: Any) -> list[str]:
        async with connected([named(server.url, **fields)], guard_of()) as hub:
            return [tool.tool for tool in hub.offered()]

    assert await tools() == ["echo", "secret"]
    assert await tools(allowed_tools=frozenset({"secret"})) == ["secret"]
    assert await tools(denied_tools=frozenset({"secret"})) == ["echo"]


async def test_calls_of_a_server_are_approved_as_its_entry_says(server: HttpStub) -> None:
    asked: list[str] = []

    async def approve(request: ApprovalRequest) -> bool:
        asked.append(request.server)
        return False

    async with connected([named(server.url, approval="ask")], guard_of()) as hub:
        outcome = await hub.call("theirs_echo", {}, CallContext(approve=approve))
    assert (outcome.code, asked, server.calls) == ("tool_denied", ["theirs"], [])


async def test_metrics_name_no_server_of_a_request(server: HttpStub) -> None:
    before = metric_value(METERS.tool_calls, "(of a request)", "", "ok")
    async with connected([named(server.url, name="mine")], guard_of()) as hub:
        await hub.call("mine_echo", {})
    assert metric_value(METERS.tool_calls, "(of a request)", "", "ok") == before + 1


# Addresses.


async def test_an_address_that_is_not_public_is_refused_before_anything_is_connected(server: HttpStub) -> None:
    for url in (server.url, "http://169.254.169.254/mcp", "http://[::1]/mcp", "file:///etc/passwd", "http://a b/"):
        error = await refused(named(url), guard=Guard())
        assert isinstance(error, FetchRefused)
        assert error.param == "mcp_servers[0].url"
    assert server.handshakes == 0


async def test_one_address_that_is_refused_keeps_the_others_from_being_connected(server: HttpStub) -> None:
    error = await refused(named(server.url), named(f"http://{PRIVATE}/mcp", name="other"))
    assert isinstance(error, FetchRefused)
    assert server.handshakes == 0


async def test_a_name_server_that_changes_its_mind_wins_nothing() -> None:
    async with web_at(PRIVATE) as inner:
        guard = Guard(resolve=resolving([PUBLIC], [PRIVATE]), is_permitted=is_taken_for_public)
        error = await refused(named(inner.url("/mcp", "rebinding.example")), guard=guard)
        assert isinstance(error, FetchFailed)
        assert "cannot be connected to: the host connects to public addresses only" in error.message
        assert inner.heads == []


async def test_a_redirect_to_an_address_that_is_not_public_is_not_followed() -> None:
    async with web_at() as web, web_at(PRIVATE, web.port) as inner:
        web.answers["/mcp"] = redirect(web.url("/mcp", PRIVATE), "307 Temporary Redirect")
        assert isinstance(await refused(named(web.url("/mcp"))), FetchFailed)
        assert inner.heads == []


async def test_proxies_of_the_environment_are_not_used(server: HttpStub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    async with connected([named(server.url)], guard_of()):
        assert server.handshakes == 1


# Servers that cannot be used.


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response(status="401 Unauthorized"), "HTTP 401 Unauthorized: it wants another authorization"),
        (response(status="404 Not Found"), "HTTP 404"),
        (response(b"<html>", content_type="text/html"), "theirs"),
        (response(gzip.compress(bytes(1000)), content_type="application/json", content_encoding="gzip"), "theirs"),
        (response(bytes(ENDLESS), content_type="application/json"), "theirs"),
    ],
    ids=["unauthorized", "not found", "no MCP", "compressed", "endless"],
)
async def test_a_server_that_cannot_be_used_refuses_the_request(answer: bytes, words: str) -> None:
    async with web_at() as web:
        web.answers["/mcp"] = answer
        error = await refused(named(web.url("/mcp")))
    assert isinstance(error, FetchFailed)
    assert error.param == "mcp_servers[0].url"
    assert words in error.message
    assert "mcp.json" not in error.message


async def test_a_server_that_is_not_there_refuses_the_request() -> None:
    error = await refused(named(f"http://{PUBLIC}:{free_port()}/mcp"))
    assert isinstance(error, FetchFailed)
    assert "cannot be reached" in error.message


async def test_the_number_of_servers_is_limited_and_each_has_a_name_of_its_own(server: HttpStub) -> None:
    many = [named(server.url, name=f"s{number}") for number in range(MOST + 1)]
    assert isinstance(await refused(*many), InvalidRequest)
    assert "called" in (await refused(named(server.url), named(server.url))).message
    assert server.handshakes == 0


# Beside the tools of the host.


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[ToolHub]:
    """The host's own servers."""
    async with hub_of(stub("files"), stub("mail")) as hub:
        yield hub


async def test_tools_of_the_host_and_of_the_request_run_side_by_side(own: ToolHub, server: HttpStub) -> None:
    granted = [tool for tool in own.offered() if tool.server == "files"]
    async with connected([named(server.url)], guard_of()) as theirs:
        tools = RequestTools(own, granted, theirs)
        assert {tool.server for tool in tools.offered} == {"files", "theirs"}
        for name, of in [("files_echo", "files"), ("theirs_echo", "theirs")]:
            found = tools.find(name)
            assert found is not None
            assert found.server == of
            assert not (await tools.call(name, {"text": "a"}, CallContext())).is_error


async def test_a_tool_of_the_host_that_was_not_granted_does_not_exist(own: ToolHub, server: HttpStub) -> None:
    async with connected([named(server.url)], guard_of()) as theirs:
        tools = RequestTools(own, [], theirs)
        outcome = await tools.call("mail_echo", {"text": "a"}, CallContext())
    assert outcome.code == "tool_not_found"
    assert "mail" not in outcome.text.removeprefix('The call was not made: there is no tool "mail_echo"')


async def test_tools_of_one_name_are_refused(own: ToolHub, server: HttpStub) -> None:
    async with connected([named(server.url, name="files")], guard_of()) as theirs:
        with pytest.raises(InvalidRequest, match='The host has a tool "files_echo", too'):
            RequestTools(own, own.offered(), theirs)

"""How deep a call stands, as a server is told it over each transport."""

from __future__ import annotations

from modelhost.tools.callbacks import CallContext
from modelhost.tools.hub import ToolHub
from tests.support.mcp_peers import free_port, hub_of, remote, sdk_http

TWO_DEEP = CallContext(depth=2)


async def test_server_over_a_pipe_is_told_in_the_message(sdk_hub: ToolHub) -> None:
    assert (await sdk_hub.call("sdk_depth", {}, TWO_DEEP)).text == "3 None"
    assert (await sdk_hub.call("sdk_depth", {})).text == "1 None"


async def test_server_over_http_is_told_in_the_request_too() -> None:
    with sdk_http("streamable-http", free_port()) as url:
        async with hub_of(remote(url)) as hub:
            assert (await hub.call("sdk_depth", {}, TWO_DEEP)).text == "3 3"
            assert (await hub.call("sdk_depth", {})).text == "1 1"

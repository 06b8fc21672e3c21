"""Which requests over HTTP come without a handshake."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.mcp_servers.plain import is_plain

MODERN = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
HANDSHAKE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}


@pytest.mark.parametrize(
    "message",
    [
        {"method": "tools/list"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}},
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}},
        {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": {"progressToken": 1}}},
    ],
)
def test_request_without_anything_is_plain(message: Any) -> None:
    assert is_plain({}, message)
    assert is_plain({"mcp-protocol-version": "2025-06-18"}, message)
    assert not is_plain({"mcp-session-id": "s"}, message)
    assert not is_plain({"mcp-protocol-version": "2026-07-28"}, message)


@pytest.mark.parametrize(
    "message",
    [
        {"id": 1, "method": "tools/list", "params": MODERN},
        {"id": 1, "method": "initialize", "params": HANDSHAKE},
        {"method": "notifications/initialized"},
        {"id": 1, "result": {}},
        {"id": 1, "method": 5},
        [{"id": 1, "method": "tools/list"}],
        "tools/list",
        None,
    ],
)
def test_everything_else_is_the_sdks(message: Any) -> None:
    assert not is_plain({}, message)

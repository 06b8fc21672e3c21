"""The MCP servers asked by bare HTTP: without a handshake, as ``curl`` does it, and as nobody should."""

from __future__ import annotations

from typing import Any, Final

from tests.goldens.http_scenarios import Request, Scenario, one

MCP: Final = "POST /mcp"
INFO: Final[dict[str, Any]] = {"method": "tools/call", "params": {"name": "model_info"}}
GREETING: Final = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "goldens", "version": "1"}},
}
BOTH: Final = {"Accept": "application/json, text/event-stream"}
LISTING: Final = {"jsonrpc": "2.0", "id": 1, "method": "resources/templates/list"}

PLAIN: Final[tuple[Scenario, ...]] = (
    one("ping", MCP, {"method": "ping"}),
    one("handshake without parameters", MCP, {"id": 1, "method": "initialize", "params": {}}),
    one("call", "POST /mcp/llm", INFO),
    one("unknown method", MCP, {"id": 1, "method": "tools/none"}),
    one("no JSON", MCP, b"{"),
    one("no message", MCP, {}, headers=BOTH),
    one("version that there is not", MCP, LISTING, headers={**BOTH, "Mcp-Protocol-Version": "1999-01-01"}),
    one("stream without a session", "GET /mcp", headers={"Accept": "text/event-stream"}),
    one("session that there is not", MCP, LISTING, headers={**BOTH, "Mcp-Session-Id": "0" * 32}),
    one("other method", "PUT /mcp", {}),
    one("no such server", "POST /mcp/none", {}),
    one("page of somebody else", MCP, INFO, headers={"Origin": "https://evil.example"}),
    Scenario(
        name="session from its beginning to its end",
        steps=(
            Request(line=MCP, body=GREETING, headers=BOTH, keep={"session": r"mcp-session-id: (\w+)"}),
            Request(line="POST /mcp/models", body=LISTING, headers={**BOTH, "Mcp-Session-Id": "$session"}),
            Request(line="DELETE /mcp", headers={"Mcp-Session-Id": "$session"}),
            Request(line=MCP, body=LISTING, headers={**BOTH, "Mcp-Session-Id": "$session"}),
        ),
    ),
)

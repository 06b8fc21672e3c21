"""What becomes of the tools that an MCP server lists."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest

from modelhost.tools.server_tool import server_tools
from modelhost.tools.status import ToolProblemReport

DOUBLING: dict[str, Any] = {
    "$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)} | {"d30": {"type": "null"}},
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/d0"}},
}
COMBINED: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"allOf": [{"anyOf": [{"const": f"{n}-{m}"} for m in range(10)]} for n in range(7)]}},
}
NODE: dict[str, Any] = {
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/node"}},
}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (DOUBLING, "it has more than 50,000 values when its references are written out"),
        (COMBINED, "it has more than 10,000 alternatives"),
    ],
)
def test_tool_whose_schema_expands_without_end_is_left_out_alone(schema: dict[str, Any], message: str) -> None:
    tools = [types.Tool(name="huge", input_schema=schema), types.Tool(name="tree", input_schema=NODE)]
    known, problems = server_tools("server", tools)
    assert [tool.tool for tool in known] == ["tree"]
    assert problems == (ToolProblemReport(tool="huge", location="#/inputSchema", message=message, is_offered=False),)

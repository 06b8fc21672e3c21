"""One tool as its server describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types as types

from modelhost.tools.arguments import ArgumentCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTool:
    """A tool under its original name."""

    server: str
    tool: str
    description: str
    schema: Mapping[str, Any]
    annotations: Mapping[str, Any]
    is_read_only: bool
    check: ArgumentCheck


def known_tool(server: str, tool: types.Tool) -> KnownTool:
    """The tool of ``server`` in our words."""
    hints = tool.annotations or types.ToolAnnotations()
    annotations = hints.model_dump(by_alias=True, exclude_none=True)
    if tool.title is not None:
        annotations.setdefault("title", tool.title)
    return KnownTool(
        server=server,
        tool=tool.name,
        description=tool.description or "",
        schema=tool.input_schema,
        annotations=annotations,
        is_read_only=hints.read_only_hint is True,
        check=ArgumentCheck(tool.input_schema),
    )

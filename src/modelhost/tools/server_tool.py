"""One tool as its server describes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as types

from modelhost.engines.schemas.limits import check_size
from modelhost.engines.schemas.plain import plain_parameters
from modelhost.engines.schemas.references import UnusableSchema
from modelhost.tools.arguments import ArgumentCheck
from modelhost.tools.status import ToolProblemReport

TASK_SUPPORT: Final = "#/execution/taskSupport"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTool:
    """A tool as its server describes it, under its original name."""

    server: str
    tool: str
    description: str
    schema: Mapping[str, Any]
    """Of its arguments, as engines and templates accept it; arguments are checked against the server's own."""
    annotations: Mapping[str, Any]
    is_read_only: bool
    check: ArgumentCheck


def server_tools(
    server: str, tools: Iterable[types.Tool]
) -> tuple[tuple[ServerTool, ...], tuple[ToolProblemReport, ...]]:
    """Return the tools of ``server`` whose schemas can be used, and the problems of its tools."""
    known, problems = [], []
    for tool in tools:
        if _needs_task(tool):
            why = "it runs as a task only, which the host cannot begin"
            problems.append(ToolProblemReport(tool=tool.name, location=TASK_SUPPORT, message=why, is_offered=False))
            continue
        try:
            check_size(tool.input_schema)
            plain = plain_parameters(tool.input_schema)
        except UnusableSchema as error:
            problems.append(_problem(tool, error.location, error.reason, is_offered=False))
            continue
        known.append(_known(server, tool, plain.schema))
        for place, reference in plain.not_fetched.items():
            message = f'"{reference}" is not fetched: anything is accepted in its place'
            problems.append(_problem(tool, place, message, is_offered=True))
    return tuple(known), tuple(problems)


def _problem(tool: types.Tool, pointer: str, message: str, *, is_offered: bool) -> ToolProblemReport:
    location = f"#/inputSchema{pointer.removeprefix('#')}"
    return ToolProblemReport(tool=tool.name, location=location, message=message, is_offered=is_offered)


def _needs_task(tool: types.Tool) -> bool:
    """Whether it runs only as a task, which the MCP SDK cannot start: its server refuses a plain call."""
    return tool.execution is not None and tool.execution.task_support == "required"


def _known(server: str, tool: types.Tool, schema: Mapping[str, Any]) -> ServerTool:
    hints = tool.annotations or types.ToolAnnotations()
    annotations = hints.model_dump(by_alias=True, exclude_none=True)
    if tool.title is not None:
        annotations.setdefault("title", tool.title)
    return ServerTool(
        server=server,
        tool=tool.name,
        description=tool.description or "",
        schema=schema,
        annotations=annotations,
        is_read_only=hints.read_only_hint is True,
        check=ArgumentCheck(tool.input_schema),
    )

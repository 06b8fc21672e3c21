"""MCP servers and tools as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from modelhost.cli import console
from modelhost.operations.mcp_resources import PromptCard, PromptField, ResourceCard
from modelhost.operations.tool_servers import ServerList, ServerReport, ToolProblemReport
from modelhost.operations.tools import ToolCard
from modelhost.tools.status import ServerState

if TYPE_CHECKING:
    from rich.table import Table

STYLES: Final = {
    ServerState.READY: "green",
    ServerState.CONNECTING: "yellow",
    ServerState.RESTARTING: "yellow",
    ServerState.FAILED: "red",
}
_PIPED_WIDTH: Final = 1000  # a table that is not for a terminal keeps each row on one line


def print_tools(tools: Sequence[ToolCard]) -> None:
    """Print a row for each tool on standard output."""
    from rich.text import Text  # noqa: PLC0415  (slow to import, and only tables need it)

    if not tools:
        console.note("no tools: `modelhost tools servers` says how the servers do")
        return
    table = _table("Tool", "Server", "Runs")
    table.add_column("What it does", overflow="fold")
    for tool in tools:
        description = console.printable(tool.function.description.partition("\n")[0])
        table.add_row(Text(tool.function.name), Text(tool.server), _runs(tool), Text(description))
    _print(table)


def print_servers(found: ServerList) -> None:
    """Print a row for each server on standard output."""
    from rich.text import Text  # noqa: PLC0415

    if found.config_error:
        console.error(found.config_error)
    if not found.data:
        where = f"in {found.config}" if found.config else "configured; --mcp-config names their file"
        console.note(f"no MCP servers are {where}")
        return
    table = _table("Server", "State", "By", "Protocol")
    for heading in ("Tools", "Calls", "Latency", "Restarts"):
        table.add_column(heading, justify="right")
    table.add_column("Problem", overflow="fold")
    for server in found.data:
        table.add_row(
            Text(server.name),
            Text(server.state, style=STYLES.get(server.state, "dim")),
            server.transport or "",
            server.protocol_version or "",
            str(server.tools),
            str(server.calls),
            "" if server.latency_p50_seconds is None else f"{server.latency_p50_seconds * 1000:,.0f} ms",
            str(server.restarts),
            Text(_problem(server)),
        )
    if found.config:
        table.caption, table.caption_justify = Text(found.config), "left"
    _print(table)


def print_resources(resources: Sequence[ResourceCard]) -> None:
    """Print a row for each resource on standard output."""
    from rich.text import Text  # noqa: PLC0415

    if not resources:
        console.note("no resources: `modelhost tools servers` says how the servers do")
        return
    table = _table("Server", "Address", "Kind")
    table.add_column("Size", justify="right")
    table.add_column("What it is", overflow="fold")
    for each in resources:
        kind = "template" if each.is_template else each.media_type or ""
        size = "" if each.size is None else f"{each.size:,}"
        what = console.printable(each.description or each.title or each.name)
        texts = (each.server, each.uri, kind, size, what)
        table.add_row(*(Text(console.printable(text)) for text in texts))
    _print(table)


def print_prompts(prompts: Sequence[PromptCard]) -> None:
    """Print a row for each prompt on standard output."""
    from rich.text import Text  # noqa: PLC0415

    if not prompts:
        console.note("no prompts: `modelhost tools servers` says how the servers do")
        return
    table = _table("Server", "Prompt", "Has to be told")
    table.add_column("What it is for", overflow="fold")
    for each in prompts:
        told = " ".join(_told(field) for field in each.arguments)
        texts = (each.server, each.name, told, each.description or each.title or "")
        table.add_row(*(Text(console.printable(text)) for text in texts))
    _print(table)


def _told(field: PromptField) -> str:
    return f"{field.name}=" if field.is_required else f"[{field.name}=]"


def _runs(tool: ToolCard) -> str:
    """When its calls run, in a word or two."""
    is_asked = tool.approval == "ask" or (tool.approval == "read_only" and not tool.annotations.get("readOnlyHint"))
    return {"deny": "never"}.get(tool.approval, "if agreed" if is_asked else "always")


def _problem(server: ServerReport) -> str:
    if server.state is not ServerState.READY:
        return console.printable(server.why_disabled or server.last_error or "")
    return "\n".join(_of_tool(each) for each in server.tool_problems)


def _of_tool(problem: ToolProblemReport) -> str:
    became = "" if problem.is_offered else " is left out"
    return console.printable(f"{problem.tool}{became}: {problem.location}: {problem.message}")


def _table(*headings: str) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    return table


def _print(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415

    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=_PIPED_WIDTH)).print(table)

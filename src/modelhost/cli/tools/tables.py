"""MCP servers, tools, resources and prompts as tables."""

from __future__ import annotations

from typing import Final

from modelhost import lazy
from modelhost.cli import console
from modelhost.operations.mcp_resources import PromptField, PromptList, ResourceList
from modelhost.operations.tool_servers import ServerList, ServerReport, ToolProblemReport
from modelhost.operations.tools import ToolCard, ToolList
from modelhost.tools.status import ServerState

STYLES: Final = {
    ServerState.READY: "green",
    ServerState.CONNECTING: "yellow",
    ServerState.RESTARTING: "yellow",
    ServerState.FAILED: "red",
}


def print_tools(found: ToolList) -> None:
    """Print a row for each tool on standard output."""
    if not found.data:
        console.note("no tools: `modelhost tools servers` shows the status of the servers")
        return
    table = console.new_table("Tool", "Server", "Runs", "Description", fold=("Description",))
    for tool in found.data:
        description = console.printable(tool.function.description.partition("\n")[0])
        console.add_row(table, tool.function.name, tool.server, _runs(tool), description)
    console.print_table(table)


def print_servers(found: ServerList) -> None:
    """Print a row for each server on standard output."""
    if found.config_error:
        console.error(found.config_error)
    if not found.data:
        where = f"in {found.config}" if found.config else "configured; --mcp-config names their file"
        console.note(f"no MCP servers are {where}")
        return
    numbers = ("Tools", "Calls", "Latency", "Restarts")
    table = console.new_table(
        "Server", "State", "By", "Protocol", *numbers, "Problem", right=numbers, fold=("Problem",)
    )
    for server in found.data:
        console.add_row(
            table,
            server.name,
            lazy.rich_text.Text(server.state, style=STYLES.get(server.state, "dim")),
            server.transport or "",
            server.protocol_version or "",
            str(server.tools),
            str(server.calls),
            "" if server.latency_p50_seconds is None else f"{server.latency_p50_seconds * 1000:,.0f} ms",
            str(server.restarts),
            _problem(server),
        )
    if found.config:
        table.caption, table.caption_justify = lazy.rich_text.Text(found.config), "left"
    console.print_table(table)


def print_resources(found: ResourceList) -> None:
    """Print a row for each resource on standard output."""
    if not found.data:
        console.note("no resources: `modelhost tools servers` shows the status of the servers")
        return
    headings = ("Server", "Address", "Kind", "Size", "Description")
    table = console.new_table(*headings, right=("Size",), fold=("Description",))
    for each in found.data:
        kind = "template" if each.is_template else each.media_type or ""
        size = "" if each.size is None else f"{each.size:,}"
        texts = (each.server, each.uri, kind, size, each.description or each.title or each.name)
        console.add_row(table, *map(console.printable, texts))
    console.print_table(table)


def print_prompts(found: PromptList) -> None:
    """Print a row for each prompt on standard output."""
    if not found.data:
        console.note("no prompts: `modelhost tools servers` shows the status of the servers")
        return
    table = console.new_table("Server", "Prompt", "Arguments", "Description", fold=("Description",))
    for each in found.data:
        arguments = " ".join(_argument(field) for field in each.arguments)
        texts = (each.server, each.name, arguments, each.description or each.title or "")
        console.add_row(table, *map(console.printable, texts))
    console.print_table(table)


def _argument(field: PromptField) -> str:
    return f"{field.name}=" if field.is_required else f"[{field.name}=]"


def _runs(tool: ToolCard) -> str:
    """Describe in a word or two when its calls need approval."""
    needs_approval = tool.approval == "ask" or (
        tool.approval == "read_only" and not tool.annotations.get("readOnlyHint")
    )
    return {"deny": "never"}.get(tool.approval, "if agreed" if needs_approval else "always")


def _problem(server: ServerReport) -> str:
    if server.state is not ServerState.READY:
        return console.printable(server.why_disabled or server.last_error or "")
    return "\n".join(_of_tool(each) for each in server.tool_problems)


def _of_tool(problem: ToolProblemReport) -> str:
    what = "" if problem.is_offered else " is left out"
    return console.printable(f"{problem.tool}{what}: {problem.location}: {problem.message}")

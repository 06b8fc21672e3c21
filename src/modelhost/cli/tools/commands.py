"""``modelhost tools``: the MCP servers of a host, or of an `mcp.json`, with their tools, resources and prompts."""

from __future__ import annotations

import base64
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, Protocol

import typer

from modelhost import json_text, lazy
from modelhost.cli import console
from modelhost.cli.operation_commands import Command, add_commands, print_result
from modelhost.cli.running_host import AsJson, Key, RunningHost, Url, parse_json_or_text, parse_key_value, running_host
from modelhost.cli.signature import option, with_signature
from modelhost.errors import ConfigError
from modelhost.operations import mcp_resources
from modelhost.operations import tools as operations
from modelhost.operations.operation import NoParameters, Operation, P, R
from modelhost.tools.names import ToolKey, meant_by
from modelhost.tools.status import PromptField, ServerReport, ServerState, ToolProblemReport

STYLES: Final = {
    ServerState.READY: "green",
    ServerState.CONNECTING: "yellow",
    ServerState.RESTARTING: "yellow",
    ServerState.FAILED: "red",
}


def print_tools(found: operations.ToolList) -> None:
    if not found.data:
        console.note("no tools: `modelhost tools servers` shows the status of the servers")
        return
    table = console.new_table("Tool", "Server", "Runs", "Description", fold=("Description",))
    for tool in found.data:
        description = console.printable(tool.function.description.partition("\n")[0])
        console.add_row(table, tool.function.name, tool.server, _runs(tool), description)
    console.print_table(table)


def print_servers(found: operations.ServerList) -> None:
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


def print_resources(found: mcp_resources.ResourceList) -> None:
    if not found.data:
        console.note("no resources: `modelhost tools servers` shows the status of the servers")
        return
    rows = [
        (
            *(each.server, each.uri, "template" if each.is_template else each.media_type or ""),
            *("" if each.size is None else f"{each.size:,}", each.description or each.title or each.name),
        )
        for each in found.data
    ]
    headings = ("Server", "Address", "Kind", "Size", "Description")
    console.print_rows(headings, rows, right=("Size",), fold=("Description",))


def print_prompts(found: mcp_resources.PromptList) -> None:
    if not found.data:
        console.note("no prompts: `modelhost tools servers` shows the status of the servers")
        return
    rows = [
        (each.server, each.name, " ".join(map(_argument, each.arguments)), each.description or each.title or "")
        for each in found.data
    ]
    console.print_rows(("Server", "Prompt", "Arguments", "Description"), rows, fold=("Description",))


def _argument(field: PromptField) -> str:
    return f"{field.name}=" if field.is_required else f"[{field.name}=]"


def _runs(tool: operations.ToolCard) -> str:
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


class Target(Protocol):
    """Runs operations on tools."""

    def call(self, operation: Operation[P, R], parameters: P) -> R: ...


_OPTIONS: Final = (
    option(
        "config",
        Path | None,
        typer.Option(
            None,
            "--config",
            "-c",
            metavar="FILE",
            help="Use no host: start the MCP servers of this file for this command.",
            show_default=False,
        ),
    ),
    option("url", Url, None),
    option("api_key", Key, None),
)


def with_target(command: Callable[Concatenate[Target, ...], None]) -> Callable[..., None]:
    """Give a command options for its target, and the target as its first argument."""
    _target, *own = inspect.signature(command, eval_str=True).parameters.values()

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        config, url, api_key = (values.pop(name) for name in ("config", "url", "api_key"))
        with _target_of(config, url, api_key) as target:
            command(target, **values)

    return with_signature(with_options, [*own, *_OPTIONS])


@contextmanager
def _target_of(config: Path | None, url: str | None, api_key: str | None) -> Iterator[Target]:
    if config is None:
        yield running_host(url, api_key)
        return
    if url is not None:
        raise ConfigError("--config uses no host, and --url names one; give one of them")
    with lazy.file_servers.open_file_servers(config) as tools:
        yield tools


OfOne = Annotated[str | None, typer.Option("--server", help="Only those of this MCP server.")]
Server = Annotated[str, typer.Argument(metavar="SERVER", help="An MCP server: its name in `mcp.json`.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="An MCP server: its name in `mcp.json`.")]


@with_target
def resources(target: Target, server: OfOne = None, as_json: AsJson = False) -> None:
    found = target.call(mcp_resources.LIST_RESOURCES, _of(server))
    print_result(found, print_resources, as_json=as_json)
    _warn_of({} if as_json else found.errors)


@with_target
def resource(
    target: Target,
    server: Server,
    uri: Annotated[str, typer.Argument(metavar="URI", help="The URI, as shown by `modelhost tools resources`.")],
    as_json: AsJson = False,
) -> None:
    found = target.call(mcp_resources.READ_RESOURCE, mcp_resources.ResourceParameters(server=server, uri=uri))
    print_result(found, _print_contents, as_json=as_json)


@with_target
def prompts(target: Target, server: OfOne = None, as_json: AsJson = False) -> None:
    found = target.call(mcp_resources.LIST_PROMPTS, _of(server))
    print_result(found, print_prompts, as_json=as_json)
    _warn_of({} if as_json else found.errors)


@with_target
def prompt(
    target: Target,
    server: Server,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A prompt, as shown by `modelhost tools prompts`.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="The arguments of the prompt.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    arguments = dict(parse_key_value(text) for text in values or ())
    found = target.call(
        mcp_resources.GET_PROMPT, mcp_resources.PromptParameters(server=server, name=name, arguments=arguments)
    )
    print_result(found, _print_prompt, as_json=as_json)


def _of(server: str | None) -> operations.OfServer:
    return operations.OfServer() if server is None else operations.OfServer(server=server)


def _warn_of(errors: Mapping[str, str]) -> None:
    for server, error in errors.items():
        console.warning(f"{server}: {console.printable(error)}")


def _print_contents(found: mcp_resources.ResourceContents) -> None:
    """Print text, and bytes unless they would go to a terminal."""
    for content in found.contents:
        if content.text is not None:
            typer.echo(content.text)
            continue
        data = base64.b64decode(content.blob or "")
        if is_terminal():
            kind = console.printable(content.media_type or "unknown kind")
            console.note(f"{content.uri} is {len(data):,} bytes ({kind}): send the output to a file")
        else:
            typer.echo(data, nl=False)


def is_terminal() -> bool:
    return sys.stdout.isatty()


def _print_prompt(found: mcp_resources.FilledPrompt) -> None:
    for message in found.messages:
        content = message.get("content")
        if isinstance(content, list):
            content = "\n".join(str(part.get("text") or f"({part.get('type')})") for part in content)
        typer.echo(f"{message['role']}: {content or ''}")


@with_target
def list_(target: Target, server: OfOne = None, as_json: AsJson = False) -> None:
    print_result(target.call(operations.LIST_TOOLS, _of(server)), print_tools, as_json=as_json)


@with_target
def servers(target: Target, as_json: AsJson = False) -> None:
    found = target.call(operations.LIST_SERVERS, NoParameters())
    print_result(found, print_servers, as_json=as_json)
    if not isinstance(target, RunningHost) and any(_is_broken(server) for server in found.data):
        raise typer.Exit(1)  # a file is given to check that all of it works


@with_target
def call(
    target: Target,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A tool: its name for models, `server.tool`, or its own name.")
    ],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="The arguments of the tool.", show_default=False)
    ] = None,
    arguments: Annotated[
        str | None, typer.Option("--json", metavar="OBJECT", help="The arguments as a JSON object.")
    ] = None,
    is_whole: Annotated[bool, typer.Option("--whole", help="Print the complete result as JSON.")] = False,
) -> None:
    pairs = [parse_key_value(text) for text in values or ()]
    if arguments is not None and pairs:
        raise typer.BadParameter("give the arguments as KEY=VALUE or with --json, not both ways")
    given = None if arguments is None else _object(arguments)
    tool = _found(name, target.call(operations.LIST_TOOLS, operations.OfServer()).data)
    outcome = target.call(
        operations.CALL,
        operations.CallParameters(
            # One that is not in the list: the host says what is wrong with it.
            name=name if tool is None else tool.function.name,
            arguments=_typed(pairs, tool) if given is None else given,
        ),
    )
    print_result(outcome, _print_outcome, as_json=is_whole)
    if outcome.is_error:
        raise typer.Exit(1)


def _print_outcome(outcome: operations.CallResult) -> None:
    if outcome.is_error:
        console.error(outcome.text)
    else:
        typer.echo(outcome.text)


def _server_command(operation: Operation[operations.OneServer, ServerReport]) -> Command:
    def command(name: Name, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
        server = running_host(url, api_key).call(operation, operations.OneServer(name=name))
        print_result(server, lambda _: typer.echo(f"{server.name}: {server.state}"), as_json=as_json)

    return operation, command, (f"{operation.command} weather",)


def _is_broken(server: ServerReport) -> bool:
    is_meant_to_be_off = server.state is ServerState.DISABLED and server.why_disabled is None
    return server.state is not ServerState.READY and not is_meant_to_be_off


def _object(text: str) -> dict[str, Any]:
    try:
        found = json_text.decode(text)
    except ValueError as error:
        raise typer.BadParameter(f"--json: that is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise typer.BadParameter("--json: expected a JSON object")
    return found


def _found(name: str, tools: Sequence[operations.ToolCard]) -> operations.ToolCard | None:
    known = {tool.function.name: tool for tool in tools}
    found = [known[each] for each in meant_by(name, {each: ToolKey(t.server, t.tool) for each, t in known.items()})]
    if len(found) > 1:
        listed = " and ".join(f"{tool.server}.{tool.tool}" for tool in found)
        raise typer.BadParameter(f"{name} is the name of several tools: take {listed}")
    return found[0] if found else None


def _typed(pairs: Sequence[tuple[str, str]], tool: operations.ToolCard | None) -> dict[str, Any]:
    properties: Mapping[str, Any] = (tool.function.parameters.get("properties") or {}) if tool else {}

    def typed(key: str, value: str) -> Any:
        schema = properties.get(key)
        is_text = isinstance(schema, Mapping) and schema.get("type") == "string"
        return value if is_text else parse_json_or_text(value)

    return {key: typed(key, value) for key, value in pairs}


COMMANDS: Final[tuple[Command, ...]] = (
    (operations.LIST_TOOLS, list_, ("list", "list --server weather", "list --json --config mcp.json")),
    (
        operations.CALL,
        call,
        (
            "call weather_forecast city=Paris days=3",
            'call weather.forecast --json \'{"city": "Paris"}\'',
            "call get_current_time timezone=UTC --config mcp.json",
        ),
    ),
    (operations.LIST_SERVERS, servers, ("servers", "servers --config mcp.json", "servers --url http://gpu-box:8000")),
    (mcp_resources.LIST_RESOURCES, resources, ("resources", "resources --server docs --json")),
    (
        mcp_resources.READ_RESOURCE,
        resource,
        ("resource docs file:///srv/docs/README.md", "resource docs docs://logo > logo.png"),
    ),
    (mcp_resources.LIST_PROMPTS, prompts, ("prompts", "prompts --config mcp.json")),
    (mcp_resources.GET_PROMPT, prompt, ("prompt docs review file=main.py language=Python",)),
    _server_command(operations.RESTART),
    _server_command(operations.ENABLE),
    _server_command(operations.DISABLE),
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Show and call the tools of MCP servers, of a running host or of a file.",
)
add_commands(app, "tools", COMMANDS)

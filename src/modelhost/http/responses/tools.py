"""The tools of a request: those that the client runs, those of MCP servers, and the choice among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from modelhost import patterns
from modelhost.chat.parsing.validation import check_schema_size, check_tool_names
from modelhost.errors import InvalidRequest, ToolNotFound
from modelhost.exchange.bodies import tool_of
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import (
    ApprovalRule,
    InputFormat,
    McpOptions,
    RemoteMcpServer,
    Tool,
    ToolFilter,
    ToolMode,
)
from modelhost.http.responses import bodies
from modelhost.http.validation import note_ignored
from modelhost.tools.names import ALL_OF_SERVER, Selection, preferred_name

if TYPE_CHECKING:
    from modelhost.tools.toolbox import Toolbox


HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""https://www.rfc-editor.org/rfc/rfc9110, section 5.1."""
HEADERS_OF_CONNECTIONS: Final = frozenset(
    {
        *("connection", "content-length", "content-type", "expect", "host", "keep-alive", "proxy-authenticate"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""They say how a request is sent, or to whom: a client that sets them could have it read as another one."""


OF_CONNECTION: Final = ("authorization", "headers")
"""What a request gives for the connection to a server at an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenTools:
    """The tools of a request."""

    of_client: tuple[Tool, ...] | None = None
    """``None``: the request says nothing of tools, but of the host's."""
    mcp: McpOptions | None = None
    rules: dict[str, ApprovalRule] = field(default_factory=dict)
    """Which calls need approval, by server."""
    hidden: tuple[str, ...] = ()
    """The types of those that the host cannot run."""

    @property
    def are_all_hidden(self) -> bool:
        """Whether the request has tools, and the model gets none of them."""
        return bool(self.hidden) and not self.of_client and self.mcp is None


def given_tools(given: Sequence[bodies.AnyTool] | None, toolbox: Toolbox) -> GivenTools:
    """Return the tools in ``given``; ``toolbox`` has those of the host, and is opened only if the request wants some.

    Raises:
        InvalidRequest: a tool cannot be used; ``param`` is its path.
    """
    if given is None:
        return GivenTools()
    _check_names(given)
    own, rules, hidden, servers = [], {}, [], _Servers(toolbox)
    for place, tool in enumerate(given):
        at = f"tools[{place}]"
        match tool:
            case bodies.FunctionTool():
                own.append(_function(tool, at))
            case bodies.CustomTool():
                own.append(Tool(name=tool.name, description=tool.description, input=_input_format(tool.format, at)))
            case bodies.McpTool():
                rule = servers.add(tool, at)
                if rule is not None:
                    rules[tool.server_label] = rule
            case bodies.HostedTool():
                hidden.append(tool.type)
                note_ignored(tool.type)
    mcp = servers.options()
    return GivenTools(
        of_client=tuple(own) if own or mcp is None else None,
        mcp=mcp,
        rules=rules,
        hidden=tuple(dict.fromkeys(hidden)),
    )


def _check_names(given: Sequence[bodies.AnyTool]) -> None:
    kinds = bodies.FunctionTool | bodies.CustomTool
    check_tool_names(
        [(f"tools[{place}].name", tool.name) for place, tool in enumerate(given) if isinstance(tool, kinds)]
    )


def _function(tool: bodies.FunctionTool, at: str) -> Tool:
    if tool.parameters:
        check_schema_size(tool.parameters, f"{at}.parameters")
    known = {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    function = {name: value for name, value in known.items() if value is not None}
    return tool_of({"type": "function", "function": function})


def _input_format(given: bodies.InputFormat | None, at: str) -> InputFormat:
    if given is None or given.type == "text":
        return InputFormat()
    if given.syntax is None or not given.definition:
        missing = f"{at}.format.{'definition' if given.syntax else 'syntax'}"
        raise InvalidRequest(f"{missing}: Field required.", param=missing)
    if given.syntax == "regex":
        try:
            patterns.check(given.definition)
        except ValueError as error:
            param = f"{at}.format.definition"
            message = f"{param}: {given.definition!r} is no regular expression: {error}."
            raise InvalidRequest(message, param=param) from None
    return InputFormat(kind=given.syntax, definition=given.definition)


# MCP servers.


class _Servers:
    """The MCP servers of a request, as far as they are read."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._labels: set[str] = set()
        self._servers: set[str] = set()
        self._tools: set[str] = set()
        self._remote: list[RemoteMcpServer] = []

    def add(self, tool: bodies.McpTool, at: str) -> ApprovalRule | None:
        """Add a server; return which of its calls need approval, ``None``: those that the host's configuration says."""
        if tool.server_label in self._labels:
            param = f"{at}.server_label"
            raise InvalidRequest(f'{param}: another tool has the label "{tool.server_label}", too.', param=param)
        self._labels.add(tool.server_label)
        rule = _rule(tool)
        if tool.server_label not in self._toolbox.hub.server_names():
            self._remote.append(_remote(tool, at))
            return rule or ApprovalRule()  # as OpenAI's API has it
        _check_is_of_host(tool, at)
        self._servers.add(tool.server_label)
        self._tools |= {f"{tool.server_label}.{name}" for name in self._allowed(tool)}
        return rule

    def _allowed(self, tool: bodies.McpTool) -> list[str]:
        allowed = tool.allowed_tools
        if isinstance(allowed, list):
            return allowed
        if allowed is None or (allowed.tool_names is None and allowed.read_only is None):
            return [ALL_OF_SERVER.removeprefix(".")]
        if allowed.read_only is None:
            return allowed.tool_names or []
        offered = self._toolbox.hub.offered(Selection(servers=frozenset({tool.server_label})))
        names = [each.tool for each in offered if each.is_read_only == allowed.read_only]
        return names if allowed.tool_names is None else [name for name in names if name in allowed.tool_names]

    def options(self) -> McpOptions | None:
        if not self._labels:
            return None
        servers, tools = frozenset(self._servers), frozenset(self._tools)
        return McpOptions(servers=servers, tools=tools, remote=tuple(self._remote), field="tools")


def _check_is_of_host(tool: bodies.McpTool, at: str) -> None:
    """Note what a server of the host does not need; refuse what would have it called in the name of somebody else."""
    for name in OF_CONNECTION:
        if getattr(tool, name):
            param = f"{at}.{name}"
            raise InvalidRequest(
                f'{param}: the host calls "{tool.server_label}" as its mcp.json says. Leave it out; or give your '
                "server another server_label, and its server_url.",
                param=param,
            )
    for name in ("server_url", "connector_id"):
        if getattr(tool, name) is not None:
            note_ignored(name)


def _remote(tool: bodies.McpTool, at: str) -> RemoteMcpServer:
    """Return a server that is none of the host's, by its address."""
    if tool.server_url is None and tool.connector_id is not None:
        raise InvalidRequest(
            f"{at}.connector_id: connectors are servers of OpenAI, which this host cannot reach. Give the server_url "
            "of a server, or the label of one in the host's mcp.json.",
            param=f"{at}.connector_id",
        )
    if tool.server_url is None:
        raise InvalidRequest(
            f'{at}.server_label: "{tool.server_label}" is none of the MCP servers in this host\'s mcp.json, and it has '
            "no server_url. GET /v1/mcp/servers lists those of the host.",
            param=f"{at}.server_label",
        )
    given = tool.allowed_tools
    wanted = bodies.ToolFilter(tool_names=given) if isinstance(given, list) else given or bodies.ToolFilter()
    return RemoteMcpServer(
        name=tool.server_label,
        url=tool.server_url,
        headers=_headers(tool, at),
        allowed_tools=None if wanted.tool_names is None else frozenset(wanted.tool_names),
        read_only=wanted.read_only,
        param=f"{at}.server_url",
    )


def _headers(tool: bodies.McpTool, at: str) -> dict[str, str]:
    """Return the headers for each request to a server at an address."""
    headers = dict(tool.headers or NOTHING)
    for name, value in headers.items():
        param = f"{at}.headers.{name}"
        if not HEADER_NAME.fullmatch(name):
            raise InvalidRequest(f"{param}: this is no name of a header.", param=param)
        if name.lower() in HEADERS_OF_CONNECTIONS:
            raise InvalidRequest(f"{param}: the host sets this header itself. Leave it out.", param=param)
        _check_header_value(value, param)
    if tool.authorization:
        _check_header_value(tool.authorization, f"{at}.authorization")
        headers["Authorization"] = f"Bearer {tool.authorization}"
    return headers


def _check_header_value(value: str, param: str) -> None:
    if not (value.isascii() and value.replace("\t", " ").isprintable()):
        message = f"{param}: the value of a header consists of printable ASCII characters."
        raise InvalidRequest(message, param=param)


def _rule(tool: bodies.McpTool) -> ApprovalRule | None:
    match tool.require_approval:
        case None:
            return None
        case "always":
            return ApprovalRule()
        case "never":
            return ApprovalRule(otherwise=False)
        case filters:
            always, never = _filter(filters.always), _filter(filters.never)
            return ApprovalRule(always=always, never=never, otherwise=always is None or never is not None)


def _filter(given: bodies.ToolFilter | None) -> ToolFilter | None:
    if given is None:
        return None
    return ToolFilter(
        names=None if given.tool_names is None else frozenset(given.tool_names), read_only=given.read_only
    )


def name_for_model(toolbox: Toolbox, server: str, tool: str) -> str:
    """Return the name for the model of a server's tool, which may be gone or belong to a server of the request."""
    if server in toolbox.hub.server_names():
        try:
            return toolbox.hub.tool(f"{server}.{tool}").name
        except ToolNotFound:
            pass  # it was renamed or removed since
    return preferred_name(server, None, tool)


# The choice.


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The choice among the tools."""

    mode: ToolMode | None = None
    named: str | None = None
    """The tool that has to be called."""
    allowed: frozenset[str] | None = None
    """The tools that may be called; ``None``: all."""


def choice_of(given: bodies.ToolChoice | None, tools: GivenTools, toolbox: Toolbox) -> Choice:
    """Return the choice in ``given``, among ``tools``; one of what the host cannot run is no choice, and noted.

    Raises:
        InvalidRequest: it does not say which tool is chosen.
    """
    match given:
        case None:
            return Choice()
        case str():
            is_void = given == "required" and tools.are_all_hidden
            if is_void:
                note_ignored(f"tool_choice {given}")
            return Choice(mode=None if is_void else given)
        case bodies.AllowedTools():
            for place, tool in enumerate(given.tools):
                _check_chosen(tool, f"tool_choice.tools[{place}]")
            return _allowed(given, [name for tool in given.tools for name in _names(tool, toolbox)])
        case bodies.ChosenTool():
            _check_chosen(given, "tool_choice")
            names = list(_names(given, toolbox))
            if len(names) == 1:
                return Choice(named=names[0])
            if given.type != "mcp":
                return Choice()
            # The tools of a server of the request are not known yet.
            return Choice(mode="required", allowed=frozenset(names) if names else None)


def _allowed(given: bodies.AllowedTools, names: Sequence[str]) -> Choice:
    if names:
        return Choice(mode=given.mode, allowed=frozenset(names))
    # The tools of a server of the request are not known yet; those that the host cannot run allow no others.
    return Choice() if any(tool.type in bodies.TOOLS for tool in given.tools) else Choice(mode="none")


def _check_chosen(tool: bodies.ChosenTool, at: str) -> None:
    if (missing := tool.missing()) is not None:
        raise InvalidRequest(f"{at}.{missing}: Field required.", param=f"{at}.{missing}")


def _names(tool: bodies.ChosenTool, toolbox: Toolbox) -> Iterator[str]:
    if tool.type in ("function", "custom") and tool.name is not None:
        yield tool.name
    elif tool.type == "mcp" and tool.server_label is not None:
        if tool.name is not None:
            yield name_for_model(toolbox, tool.server_label, tool.name)
        elif tool.server_label in toolbox.hub.server_names():
            selected = Selection(servers=frozenset({tool.server_label}))
            yield from (offered.name for offered in toolbox.hub.offered(selected))
    else:
        note_ignored(f"tool_choice {tool.type}")

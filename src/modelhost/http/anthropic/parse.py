"""A request of Anthropic's Messages API as a chat request of this host."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelhost.chat.parsing.parse import mcp_options
from modelhost.chat.parsing.validation import check_schema_size, check_tool_names
from modelhost.engines.base import Engine
from modelhost.errors import InvalidRequest
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest, McpOptions, OutputFormat, RemoteMcpServer, Sampling, Tool, ToolMode
from modelhost.http.anthropic import bodies
from modelhost.http.anthropic.conversation import Verify, messages_of, system_message
from modelhost.http.translation import EFFORT, TEMPLATE, continuation, supported
from modelhost.http.validation import note_ignored

MODES: Final[Mapping[str, ToolMode]] = {"auto": "auto", "any": "required", "none": "none"}
EFFORTS: Final = {"xhigh": "high", "max": "high"}
"""Efforts that only Anthropic's models have, each with that of other models."""
BUDGETS: Final = ("thinking_budget_tokens", "thinking_token_budget")
"""The names of the budget, llama.cpp's and vLLM's."""
ALL_TOOLS: Final = ["*"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingFormat:
    """Whether the answer has thinking blocks, and whether they have a text."""

    is_shown: bool = False
    is_omitted: bool = False


def chat_request(
    body: bodies.MessagesRequest, engine: Engine, verify: Verify, *, is_stable: bool, known_servers: Container[str]
) -> tuple[ChatRequest, ThinkingFormat]:
    """Return the request in ``body`` for a model of ``engine``, and how its thinking is to be shown.

    ``is_stable`` removes lines of the system prompt that always change; ``known_servers`` are the host's MCP servers.

    Raises:
        InvalidRequest: something in it cannot be used; ``param`` is its path.
    """
    if body.max_tokens == 0 and body.session_id is not None:
        raise InvalidRequest(
            "max_tokens: with 0 there is no answer that could be stored; leave out session_id.", param="max_tokens"
        )
    conversation = conversation_of(body, engine, verify, is_stable=is_stable)
    sampling = Sampling(
        max_tokens=max(1, body.max_tokens),  # engines read no prompt without writing a token
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        stop=tuple(body.stop_sequences) if body.stop_sequences else None,
    )
    mode, named = _tool_choice(body.tool_choice)
    return ChatRequest(
        model=body.model,
        messages=conversation.messages,
        tools=conversation.tools,
        extra=conversation.extra,
        output=_output(body),
        sampling=sampling,
        names_stop=bool(body.stop_sequences),
        is_streamed=body.stream is True,
        include_progress=bool(body.include_progress),
        tool_choice=mode,
        named_tool=named,
        parallel_tool_calls=False if body.tool_choice and body.tool_choice.disable_parallel_tool_use else None,
        mcp=_mcp(body, known_servers),
        session_id=body.session_id,
    ), _format_of(body.thinking)


def conversation_of(
    body: bodies.MessagesRequest | bodies.CountTokensRequest, engine: Engine, verify: Verify, *, is_stable: bool
) -> ChatRequest:
    """Return what of a request becomes the prompt: messages, tools, and how the model thinks."""
    messages = messages_of(body.messages, verify, before=system_message(body.system, is_stable=is_stable))
    if not messages:
        raise InvalidRequest("messages: nothing in them is for the model.", param="messages")
    extra = _thinking_fields(body, engine)
    extra |= continuation(engine, messages)
    return ChatRequest(model=body.model, messages=messages, tools=_tools(body), extra=extra or NOTHING)


# Thinking.


def _thinking_fields(body: bodies.MessagesRequest | bodies.CountTokensRequest, engine: Engine) -> dict[str, Any]:
    """Return the engine's fields for how the model thinks. Unless it is told to, a model does not think here."""
    fields: dict[str, Any] = {}
    thinks = body.thinking is not None and body.thinking.type != "disabled"
    if TEMPLATE in engine.fields("chat"):
        fields[TEMPLATE] = {"enable_thinking": thinks}
    elif thinks:
        note_ignored("thinking")
    if isinstance(body.thinking, bodies.ThinkingEnabled):
        name = next((each for each in BUDGETS if each in engine.fields("chat")), BUDGETS[0])
        fields |= supported(engine, {name: body.thinking.budget_tokens})
    if body.output_config is not None and (effort := body.output_config.effort) is not None:
        fields |= supported(engine, {EFFORT: EFFORTS.get(effort, effort)})
    return fields


def _format_of(thinking: bodies.Thinking | None) -> ThinkingFormat:
    if thinking is None or isinstance(thinking, bodies.ThinkingDisabled):
        return ThinkingFormat()
    return ThinkingFormat(is_shown=True, is_omitted=thinking.display == "omitted")


def _output(body: bodies.MessagesRequest) -> OutputFormat | None:
    place, given = "output_format", body.output_format
    if body.output_config is not None and body.output_config.format is not None:
        place, given = "output_config.format", body.output_config.format
    if given is None:
        return None
    check_schema_size(given.schema_, f"{place}.schema")
    return OutputFormat(kind="json_schema", schema=given.schema_, extra={"name": "answer", "strict": True})


# Tools.


def _tools(body: bodies.MessagesRequest | bodies.CountTokensRequest) -> tuple[Tool, ...] | None:
    """Return the tools that the client runs; ``None`` if it says nothing of tools, but of the host's."""
    given = body.tools
    if given is None:
        return None
    made = []
    check_tool_names(
        [(f"tools[{place}].name", tool.name) for place, tool in enumerate(given) if isinstance(tool, bodies.Tool)]
    )
    for place, tool in enumerate(given):
        if isinstance(tool, bodies.HostedTool):
            note_ignored(tool.type)
        if not isinstance(tool, bodies.Tool):
            continue
        check_schema_size(tool.input_schema, f"tools[{place}].input_schema")
        made.append(Tool(name=tool.name, description=tool.description, parameters=tool.input_schema))
    if not made and (body.mcp_servers or any(isinstance(tool, bodies.Toolset) for tool in given)):
        return None
    return tuple(made)


def _tool_choice(given: bodies.FreeChoice | bodies.NamedChoice | None) -> tuple[ToolMode | None, str | None]:
    if given is None:
        return None, None
    return (None, given.name) if isinstance(given, bodies.NamedChoice) else (MODES[given.type], None)


def _mcp(body: bodies.MessagesRequest, known_servers: Container[str]) -> McpOptions | None:
    """Return which of the host's tools a request gets, as its beta ``mcp_servers`` or the host's own ``mcp`` says."""
    if body.mcp is not None and body.mcp_servers:
        raise InvalidRequest("mcp: give either mcp or mcp_servers.", param="mcp")
    if body.mcp is not None:
        return mcp_options(body.mcp.model_dump(exclude_none=True))
    _check_toolsets(body)
    if not body.mcp_servers:
        return None
    toolsets = {tool.mcp_server_name: tool for tool in body.tools or () if isinstance(tool, bodies.Toolset)}
    servers, tools, denied, remote = set(), set(), set(), []
    for place, server in enumerate(body.mcp_servers):
        options, toolset = server.tool_configuration, toolsets.get(server.name)
        is_off = options is not None and options.enabled is False
        if server.name not in known_servers:
            found = _remote(server, toolset, f"mcp_servers[{place}]")
            remote += [] if is_off else [found]
            continue
        if server.url is not None:
            note_ignored("mcp_servers.url")
        if not is_off:
            servers.add(server.name)
            tools |= {f"{server.name}.{name}" for name in _allowed(options, toolset)}
            denied |= {f"{server.name}.{name}" for name in _denied(toolset)}
    return McpOptions(
        servers=frozenset(servers),
        tools=frozenset(tools),
        denied_tools=frozenset(denied),
        remote=tuple(remote),
        field="mcp_servers",
    )


def _remote(server: bodies.McpServer, toolset: bodies.Toolset | None, at: str) -> RemoteMcpServer:
    """Return a server that is none of the host's, by its address."""
    if server.url is None:
        raise InvalidRequest(
            f'{at}.name: "{server.name}" is none of the MCP servers in this host\'s mcp.json, and it has no url. '
            "GET /v1/mcp/servers lists those of the host.",
            param=f"{at}.name",
        )
    allowed = _allowed(server.tool_configuration, toolset)
    token = server.authorization_token
    return RemoteMcpServer(
        name=server.name,
        url=server.url,
        headers={"Authorization": f"Bearer {token}"} if token else NOTHING,
        allowed_tools=None if allowed == ALL_TOOLS else frozenset(allowed),
        denied_tools=frozenset(_denied(toolset)),
        param=f"{at}.url",
    )


def _check_toolsets(body: bodies.MessagesRequest) -> None:
    names = {server.name for server in body.mcp_servers or ()}
    for place, tool in enumerate(body.tools or ()):
        if isinstance(tool, bodies.Toolset) and tool.mcp_server_name not in names:
            param = f"tools[{place}].mcp_server_name"
            raise InvalidRequest(f"{param}: mcp_servers has no server of this name.", param=param)


def _allowed(options: bodies.ServerTools | None, toolset: bodies.Toolset | None) -> Sequence[str]:
    """Return the names of the tools of a server that a request gets."""
    if options is not None and options.allowed_tools is not None:
        return options.allowed_tools
    if toolset is None or toolset.is_enabled:
        return ALL_TOOLS
    return [name for name, is_enabled in toolset.named.items() if is_enabled]


def _denied(toolset: bodies.Toolset | None) -> Iterator[str]:
    """Yield the names of the tools of a server that a request does not get."""
    for name, is_enabled in toolset.named.items() if toolset is not None else ():
        if not is_enabled:
            yield name

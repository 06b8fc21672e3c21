"""A request of Anthropic's Messages API as a chat request of this host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelhost.chat.parsing.parse import mcp_options
from modelhost.chat.parsing.validation import check_schema_size
from modelhost.engines.base import Engine
from modelhost.errors import InvalidRequest
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest, McpOptions, OutputFormat, Sampling, Tool, ToolMode
from modelhost.http.anthropic import bodies
from modelhost.http.anthropic.conversation import Verify, messages_of, system_message
from modelhost.http.validation import note_ignored

TOOLSET: Final = "mcp_toolset"
MODES: Final[Mapping[str, ToolMode]] = {"auto": "auto", "any": "required", "none": "none"}
EFFORTS: Final = {"xhigh": "high", "max": "high"}
"""Efforts that only Anthropic's models have, each with that of other models."""
TEMPLATE: Final = "chat_template_kwargs"
EFFORT: Final = "reasoning_effort"
BUDGETS: Final = ("thinking_budget_tokens", "thinking_token_budget")
"""The names of the budget, llama.cpp's and vLLM's."""
CONTINUE: Final = "continue_final_message"
BEGIN: Final = "add_generation_prompt"


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
    conversation = conversation_of(body, engine, verify, is_stable=is_stable)
    sampling = Sampling(
        max_tokens=body.max_tokens,
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
    messages = (*system_message(body.system, is_stable=is_stable), *messages_of(body.messages, verify))
    if not messages:
        raise InvalidRequest("messages: nothing in them is for the model.", param="messages")
    extra = _thinking_fields(body, engine)
    if messages[-1].role == "assistant" and not engine.continues_final_message:
        extra |= _supported(engine, {CONTINUE: True, BEGIN: False})
    return ChatRequest(model=body.model, messages=messages, tools=_tools(body), extra=extra or NOTHING)


def _supported(engine: Engine, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``fields`` that ``engine`` supports; the others are noted."""
    of_engine = engine.fields("chat")
    for name in fields:
        if name not in of_engine:
            note_ignored(name)
    return {name: value for name, value in fields.items() if name in of_engine}


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
        fields |= _supported(engine, {name: body.thinking.budget_tokens})
    if body.output_config is not None and (effort := body.output_config.effort) is not None:
        fields |= _supported(engine, {EFFORT: EFFORTS.get(effort, effort)})
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
    names = Counter(tool.name for tool in given if isinstance(tool, bodies.Tool))
    for place, tool in enumerate(given):
        if isinstance(tool, bodies.HostedTool):
            if tool.type != TOOLSET:
                note_ignored(tool.type)
            continue
        if names[tool.name] > 1:
            param = f"tools[{place}].name"
            raise InvalidRequest(f'{param}: another tool is called "{tool.name}", too.', param=param)
        check_schema_size(tool.input_schema, f"tools[{place}].input_schema")
        made.append(Tool(name=tool.name, description=tool.description, parameters=tool.input_schema))
    if not made and (
        body.mcp_servers or any(isinstance(tool, bodies.HostedTool) and tool.type == TOOLSET for tool in given)
    ):
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
    if any(isinstance(tool, bodies.Tool) for tool in body.tools or ()):
        raise InvalidRequest(
            "mcp_servers: the tools of MCP servers, which the host runs, cannot be combined with tools that you run "
            "yourself. Leave one of them out.",
            param="mcp_servers",
        )
    toolsets = {
        tool.mcp_server_name: tool.model_extra or NOTHING
        for tool in body.tools or ()
        if isinstance(tool, bodies.HostedTool) and tool.type == TOOLSET
    }
    servers, tools = set(), set()
    for place, server in enumerate(body.mcp_servers):
        if server.name not in known_servers:
            param = f"mcp_servers[{place}].name"
            raise InvalidRequest(
                f'{param}: "{server.name}" is none of the MCP servers in this host\'s mcp.json, and it connects to no '
                "others. GET /v1/mcp/servers lists them.",
                param=param,
            )
        if server.url is not None:
            note_ignored("mcp_servers.url")
        options = server.tool_configuration
        if options is None or options.enabled is not False:
            servers.add(server.name)
            tools |= {f"{server.name}.{name}" for name in _allowed(options, toolsets.get(server.name, NOTHING))}
    return McpOptions(servers=frozenset(servers), tools=frozenset(tools))


def _check_toolsets(body: bodies.MessagesRequest) -> None:
    names = {server.name for server in body.mcp_servers or ()}
    for place, tool in enumerate(body.tools or ()):
        if isinstance(tool, bodies.HostedTool) and tool.type == TOOLSET and tool.mcp_server_name not in names:
            param = f"tools[{place}].mcp_server_name"
            raise InvalidRequest(f"{param}: mcp_servers has no server of this name.", param=param)


def _allowed(options: bodies.ServerTools | None, toolset: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the tools of a server that a request gets."""
    if options is not None and options.allowed_tools is not None:
        return options.allowed_tools
    configs = toolset.get("configs")
    if (toolset.get("default_config") or {}).get("enabled") is False and isinstance(configs, dict):
        return [name for name, config in configs.items() if (config or {}).get("enabled", True)]
    return ["*"]

"""OpenAI's custom tools, which are called with a text: checked, and adapted to engines that support functions only.

For such an engine a custom tool is a function with one parameter, ``input``, and its calls in the conversation are
calls of that function; :mod:`modelhost.chat.tools.custom_calls` turns the model's calls back into custom ones. A
regular expression becomes the ``pattern`` of the parameter. A Lark grammar is supported only where one tool has to be
called, since the engine then generates nothing but the input; elsewhere it is refused, as it could not be enforced.

Source: https://platform.openai.com/docs/guides/function-calling#custom-tools
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from modelhost import patterns
from modelhost.chat.tools.tool_choice import requires_call
from modelhost.engines.base import Engine
from modelhost.engines.schemas.plain import plain_parameters
from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import Message, ToolCall
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest, InputFormat, Tool

INPUT: Final = "input"
PLAIN: Final = "The whole input of the tool, as plain text."
LARK: Final = "The whole input of the tool, as text of this Lark grammar:"


class AdaptedChat(Struct, frozen=True, kw_only=True):
    """A request adapted to an engine."""

    request: ChatRequest
    inputs: Mapping[str, InputFormat] = NOTHING
    """The formats of the custom tools that became functions, by name."""
    grammar: str | None = None
    """The Lark grammar for the input of the only tool, which has to be called."""


# Checking.


def check(tools: Sequence[Tool], choice: Any) -> None:
    """Check the custom tools of a request and the tools in its ``tool_choice``, whose types are checked.

    Raises:
        InvalidRequest: a regular expression is invalid, or the choice names a tool of another kind.
    """
    for place, tool in enumerate(tools):
        if tool.input is not None:
            _check_format(tool.input, f"tools[{place}].custom.format.grammar.definition")
    custom = {tool.name for tool in tools if tool.input is not None}
    for kind, name in _named_in(choice):
        if kind == "custom" and name not in custom:
            raise InvalidRequest(f'tool_choice names "{name}", which is none of the custom tools.', param="tool_choice")
        if kind == "function" and name in custom:
            raise InvalidRequest(
                f'tool_choice names the function "{name}", which is a custom tool: its type is "custom".',
                param="tool_choice",
            )


def _check_format(wanted: InputFormat, at: str) -> None:
    if wanted.kind != "regex":
        return
    try:
        patterns.check(wanted.definition)
    except ValueError as error:
        raise InvalidRequest(f"{at}: {wanted.definition!r} is no regular expression: {error}.", param=at) from None


def _named_in(choice: Any) -> Iterator[tuple[str, str]]:
    """Yield the kind and the name of each tool in ``choice``."""
    if not isinstance(choice, Mapping):
        return
    given = [choice] if choice["type"] != "allowed_tools" else choice["allowed_tools"]["tools"]
    for each in given:
        yield each["type"], each[each["type"]]["name"]


# Adapting.


def adapted_to(request: ChatRequest, engine: Engine) -> AdaptedChat:
    """Return ``request``, whose ``tool_choice`` is enforced, adapted to ``engine``.

    Raises:
        InvalidRequest: a tool has a grammar that cannot be enforced.
    """
    messages = request.messages
    has_calls = any(message.tool_calls is not None and _has_custom(message.tool_calls) for message in messages)
    tools = request.tools or ()
    inputs = {tool.name: tool.input for tool in tools if tool.input is not None}
    if not (inputs or has_calls) or engine.custom_tools == "unchanged":
        return AdaptedChat(request=request)
    grammar = _grammar(request, engine) if any(wanted.kind == "lark" for wanted in inputs.values()) else None
    changed: dict[str, Any] = {}
    if has_calls:
        changed["messages"] = tuple(map(_with_functions, messages))
    if inputs:
        changed["tools"] = tuple(_function(tool) for tool in tools)
    return AdaptedChat(request=replace(request, **changed), inputs=inputs, grammar=grammar)


def _has_custom(calls: Sequence[ToolCall]) -> bool:
    return any(call.input is not None for call in calls)


def _with_functions(message: Message) -> Message:
    if message.tool_calls is None or not _has_custom(message.tool_calls):
        return message
    return replace(message, tool_calls=tuple(map(_function_call, message.tool_calls)))


def _function_call(call: ToolCall) -> ToolCall:
    if call.input is None:
        return call
    extra = {name: value for name, value in call.extra.items() if name != "custom"}
    arguments = json.dumps({INPUT: call.input}, ensure_ascii=False)
    return ToolCall(name=call.name, arguments=arguments, id=call.id, extra=extra or NOTHING)


def _function(tool: Tool) -> Tool:
    if tool.input is None:
        return tool
    taken: dict[str, Any] = {"type": "string", "description": PLAIN}
    if tool.input.kind == "regex":
        taken["pattern"] = f"^({patterns.without_anchors(tool.input.definition)})$"
    elif tool.input.kind == "lark":
        taken["description"] = f"{LARK}\n{tool.input.definition}"
    schema = {"type": "object", "properties": {INPUT: taken}, "required": [INPUT], "additionalProperties": False}
    return Tool(name=tool.name, description=tool.description, parameters=plain_parameters(schema).schema)


def _grammar(request: ChatRequest, engine: Engine) -> str:
    tools = request.tools or ()
    if (
        engine.custom_tools != "as_functions"
        and requires_call(request)
        and len(tools) == 1
        and tools[0].input is not None
    ):
        return tools[0].input.definition
    name = next(tool.name for tool in tools if tool.input is not None and tool.input.kind == "lark")
    why, way_out = f"{engine.name} cannot have an input follow one", "Use a model of llama.cpp"
    if engine.custom_tools != "as_functions":
        why, way_out = "it can be followed only where that tool has to be called", "Name the tool in tool_choice"
    raise InvalidRequest(
        f'tools: "{name}" has a Lark grammar: {why}. {way_out}, give a grammar whose syntax is "regex", or leave '
        '"format" out and check the input yourself.',
        param="tools",
    )

"""A request of the Responses API as a chat request of this host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from modelhost.chat.parsing.parse import mcp_options
from modelhost.chat.parsing.validation import check_schema_size
from modelhost.engines.base import Engine
from modelhost.errors import InvalidRequest
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest, HostCalls, McpOptions, OutputFormat, PendingCall, Sampling
from modelhost.http.responses import bodies
from modelhost.http.responses.conversation import Unseal, messages_of, pending_calls
from modelhost.http.responses.items import Item
from modelhost.http.responses.tools import GivenTools, choice_of, given_tools, name_for_model
from modelhost.http.translation import EFFORT, TEMPLATE, supported

if TYPE_CHECKING:
    from modelhost.host import Host

LOGPROBS: Final = "message.output_text.logprobs"
ENCRYPTED: Final = "reasoning.encrypted_content"
EFFORTS: Final = {"xhigh": "high", "max": "high"}
"""Efforts that only OpenAI's models have, each with that of other models."""
NO_EFFORT: Final = "none"


class ParsedResponse(Struct, frozen=True, kw_only=True):
    """A request, and how its answer is to be shown."""

    request: ChatRequest
    items: Sequence[Item] = ()
    """The whole conversation that it answers."""
    defaults: Mapping[str, Any] = NOTHING
    """The request defaults of the model."""
    hidden_tools: tuple[str, ...] = ()
    """The types of tools that the host cannot run."""
    is_summarised: bool = False
    """Whether reasoning is shown as a summary."""
    seals_reasoning: bool = False
    """Whether reasoning comes sealed, too."""
    has_logprobs: bool = False
    truncates: bool = False
    """Whether the oldest messages are dropped from a conversation that does not fit."""
    listed: frozenset[str] = frozenset()
    """The servers whose tools the conversation lists already."""
    approvals: Mapping[str, str] = NOTHING
    """The approval request of each call that is decided about, by the call's id."""

    @property
    def decided(self) -> tuple[str, ...]:
        """The approval requests that the request decides about."""
        return tuple(self.approvals.values())


def chat_request(
    body: bodies.CreateResponse, items: Sequence[Item], host: Host, unseal: Unseal, *, given_from: int = 0
) -> ParsedResponse:
    """Return the request in ``body`` to go on with ``items``, of which those before ``given_from`` are stored.

    :func:`check` has to have passed ``body``.

    Raises:
        InvalidRequest: something in it cannot be used; ``param`` is its path.
    """
    model, toolbox = host.find(body.model), host.toolbox
    tools = given_tools(body.tools, toolbox)
    choice = choice_of(body.tool_choice, tools, toolbox)
    name_of = partial(name_for_model, toolbox)
    extra = _engine_fields(body, model.engine)
    has_logprobs = LOGPROBS in (body.include or ()) or bool(body.top_logprobs)
    mcp, output = _mcp(body, tools), _output(body.text)
    _check_with_mcp(body, mcp, has_logprobs=has_logprobs)
    request = ChatRequest(
        model=body.model,
        messages=messages_of(items, unseal, name_of, instructions=body.instructions, given_from=given_from),
        tools=tools.of_client,
        tool_choice=choice.mode,
        named_tool=choice.named,
        allowed_tools=choice.allowed,
        parallel_tool_calls=body.parallel_tool_calls,
        sampling=_sampling(body),
        logprobs=has_logprobs,
        top_logprobs=body.top_logprobs if has_logprobs else None,
        output=output,
        constraint_field="" if output is None else "text.format",
        extra=extra or NOTHING,
        include_progress=bool(body.stream_options and body.stream_options.include_progress),
        is_streamed=body.stream is True,
        mcp=mcp,
        host_calls=_host_calls(body, tools, pending_calls(items, name_of, given_from=given_from)),
        session_id=body.session_id,
    )
    return ParsedResponse(
        request=request,
        items=items,
        defaults=model.defaults,
        hidden_tools=tools.hidden,
        is_summarised=body.reasoning is not None and bool(body.reasoning.summary or body.reasoning.generate_summary),
        seals_reasoning=ENCRYPTED in (body.include or ()),
        has_logprobs=has_logprobs,
        truncates=body.truncation == "auto",
        listed=frozenset(item["server_label"] for item in items if item["type"] == "mcp_list_tools"),
        approvals={call.id: call.request_id for call in request.host_calls.pending} or NOTHING,
    )


def conversation_of(
    body: bodies.CountInputTokens, items: Sequence[Item], host: Host, unseal: Unseal, *, given_from: int = 0
) -> ChatRequest:
    """Return what of a request becomes the prompt: messages, and the tools of the client."""
    name_of = partial(name_for_model, host.toolbox)
    return ChatRequest(
        model=body.model,
        messages=messages_of(items, unseal, name_of, instructions=body.instructions, given_from=given_from),
        tools=given_tools(body.tools, host.toolbox).of_client,
    )


def check(body: bodies.CreateResponse) -> None:
    """Refuse what cannot be combined, whatever is stored; raises InvalidRequest."""
    if body.prompt is not None:
        raise InvalidRequest("prompt: this host stores no prompts; send instructions and input.", param="prompt")
    if body.previous_response_id is not None and body.conversation is not None:
        message = "conversation: give either a conversation or previous_response_id."
        raise InvalidRequest(message, param="conversation")
    if body.session_id is not None and (body.previous_response_id or body.conversation):
        message = "session_id: give either a session, a conversation or previous_response_id."
        raise InvalidRequest(message, param="session_id")
    is_continued = body.previous_response_id is not None or body.conversation is not None
    if body.input is None and not is_continued and body.instructions is None:
        message = "input: one of input, instructions, previous_response_id and conversation is needed."
        raise InvalidRequest(message, param="input")


def _host_calls(body: bodies.CreateResponse, tools: GivenTools, pending: tuple[PendingCall, ...]) -> HostCalls:
    has_servers = tools.mcp is not None
    return HostCalls(
        lists_tools=has_servers,
        defers_approvals=has_servers or bool(pending),
        max_calls=body.max_tool_calls,
        rules=tools.rules or NOTHING,
        pending=pending,
    )


def _sampling(body: bodies.CreateResponse) -> Sampling:
    return Sampling(
        max_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        seed=body.seed,
        stop=tuple(body.stop) if isinstance(body.stop, list) else body.stop,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
    )


def _engine_fields(body: bodies.CreateResponse, engine: Engine) -> dict[str, Any]:
    """Return the engine's fields for how the model thinks, and for its chat template."""
    fields: dict[str, Any] = {}
    effort = None if body.reasoning is None else body.reasoning.effort
    template = dict(body.chat_template_kwargs or NOTHING)
    if effort == NO_EFFORT:
        template["enable_thinking"] = False
    elif effort is not None:
        fields[EFFORT] = EFFORTS.get(effort, effort)
    if template:
        fields[TEMPLATE] = template
    return supported(engine, fields) if fields else fields


def _output(text: bodies.TextConfig | None) -> OutputFormat | None:
    if text is None or text.format is None or text.format.type == "text":
        return None
    given = text.format
    if given.type == "json_object":
        return OutputFormat(kind="json_object")
    if given.schema_ is None:
        raise InvalidRequest("text.format.schema: the schema is missing.", param="text.format.schema")
    check_schema_size(given.schema_, "text.format.schema")
    extra: dict[str, Any] = {"name": given.name or "answer"}
    if given.strict is not None:
        extra["strict"] = given.strict
    return OutputFormat(kind="json_schema", schema=given.schema_, extra=extra)


def _mcp(body: bodies.CreateResponse, tools: GivenTools) -> McpOptions | None:
    """Return which of the host's tools a request gets, as its tools or the host's own ``mcp`` says."""
    if body.mcp is None:
        return tools.mcp
    if tools.mcp is not None:
        raise InvalidRequest("mcp: give either mcp or tools of type mcp.", param="mcp")
    return mcp_options(body.mcp.model_dump(exclude_none=True))


def _check_with_mcp(body: bodies.CreateResponse, mcp: McpOptions | None, *, has_logprobs: bool) -> None:
    """Refuse what engines cannot honour in the turns of a tool loop, by the names of this API."""
    if mcp is None or not has_logprobs:
        return
    param = "top_logprobs" if body.top_logprobs else "include"
    raise InvalidRequest(
        f"{param}: log probabilities cannot be combined with MCP tools that the host calls. Leave out one of them.",
        param=param,
    )

"""What the host does for an MCP server: sampling, elicitation, roots and logging (the protocol's client features)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any, Final

import mcp_types as types
from mcp.client.session import ClientRequestContext

from modelhost import json_text
from modelhost.errors import ModelhostError
from modelhost.logs import get_logger
from modelhost.tools.callbacks import (
    ApprovalRequest,
    CallAttempt,
    ElicitationAnswer,
    ElicitationRequest,
    InFlightCalls,
    Sampler,
    SamplingAnswer,
    SamplingRequest,
    ToolLogLine,
    filled_in,
)
from modelhost.tools.content import text_of
from modelhost.tools.entry import ServerEntry

log = get_logger(__name__)

REJECTED: Final = -1  # the specification's code for a sampling request that the user rejects
REFUSED: Final = "User rejected sampling request"  # the specification's message
UNANSWERED: Final = "Nobody was there to approve the sampling request"


class ClientFeatures:
    """Answers the requests of one server, for the call that it is working on."""

    def __init__(self, entry: ServerEntry, attempts: InFlightCalls, sampler: Sampler | None) -> None:
        self._entry = entry
        self._attempts = attempts
        self._sampler = sampler

    def callbacks(self) -> dict[str, Any]:
        """Return the callbacks for the SDK's client, which declares its capabilities by them."""
        found: dict[str, Any] = {"elicitation_callback": self.elicit, "logging_callback": self.note}
        if self._sampler is not None and self._entry.sampling.mode != "off":
            found["sampling_callback"] = self.sample
            found["sampling_capabilities"] = types.SamplingCapability(tools=types.SamplingToolsCapability())
        if self._entry.roots:
            found["list_roots_callback"] = self.roots
        return found

    async def sample(
        self, _context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData:
        """Answer with a model, if the policy allows it."""
        assert self._sampler is not None
        attempt = self._attempts.attempt_for("approve")
        request = request_of(self._entry.name, params, self._entry.sampling.max_tokens)
        with attempt.paused() if attempt is not None else nullcontext():
            if self._entry.sampling.mode == "ask" and not (agrees := await self._agrees(attempt, params)):
                return types.ErrorData(code=REJECTED, message=UNANSWERED if agrees is None else REFUSED)
            try:
                with attempt.resumed() if attempt is not None else nullcontext():
                    answer = await self._sampler.sample(request)
            except ModelhostError as error:
                log.warning("mcp_sampling_failed", server=self._entry.name, code=error.code)
                return types.ErrorData(code=types.INTERNAL_ERROR, message=error.message)
        return result_of(answer, params)

    async def _agrees(self, attempt: CallAttempt | None, params: types.CreateMessageRequestParams) -> bool | None:
        if attempt is None or attempt.context.approve is None:
            return None
        arguments = params.model_dump(by_alias=True, mode="json", exclude_none=True)
        return await attempt.context.approve(
            ApprovalRequest(
                kind="sampling",
                server=self._entry.name,
                name=self._entry.name,
                tool=attempt.tool,
                arguments=arguments,
                annotations={},
            )
        )

    async def elicit(
        self, _context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        """Ask the user; declined if there is none, or if it is not certain which."""
        attempt = self._attempts.attempt_for("elicit")
        if attempt is None or attempt.context.elicit is None:
            return types.ElicitResult(action="decline")
        with attempt.paused():
            answer = await attempt.context.elicit(_elicitation(self._entry.name, attempt.tool, params))
        return _elicited(answer, params)

    async def roots(self, _context: ClientRequestContext) -> types.ListRootsResult | types.ErrorData:
        return types.ListRootsResult.model_validate({"roots": [{"uri": uri} for uri in self._entry.roots]})

    async def note(self, params: types.LoggingMessageNotificationParams) -> None:
        """Pass a log message to the call that it belongs to."""
        attempt = self._attempts.attempt_for("on_log")
        if attempt is not None and attempt.context.on_log is not None:
            await attempt.context.on_log(
                ToolLogLine(server=self._entry.name, level=params.level, logger=params.logger, data=params.data)
            )


def _elicitation(server: str, tool: str, params: types.ElicitRequestParams) -> ElicitationRequest:
    if isinstance(params, types.ElicitRequestURLParams):
        return ElicitationRequest(server=server, tool=tool, message=params.message, mode="url", url=params.url)
    schema = params.model_dump(by_alias=True, mode="json", exclude_none=True)["requestedSchema"]
    return ElicitationRequest(server=server, tool=tool, message=params.message, schema=schema)


def _elicited(answer: ElicitationAnswer, params: types.ElicitRequestParams) -> types.ElicitResult:
    if answer.action != "accept" or isinstance(params, types.ElicitRequestURLParams):
        return types.ElicitResult(action=answer.action)
    return types.ElicitResult(action="accept", content=filled_in(params.requested_schema, answer.content or {}))


FINISH: Final[Mapping[str, str]] = {"stop": "endTurn", "length": "maxTokens", "tool_calls": "toolUse"}
_AUDIO_FORMATS: Final[Mapping[str, str]] = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3"}


def request_of(server: str, params: types.CreateMessageRequestParams, max_tokens: int) -> SamplingRequest:
    """Return the sampling request of ``server`` in our types."""
    preferences = params.model_preferences or types.ModelPreferences()
    system = [{"role": "system", "content": params.system_prompt}] if params.system_prompt else []
    return SamplingRequest(
        server=server,
        messages=(*system, *(found for message in params.messages for found in _chat_messages(message))),
        max_tokens=min(params.max_tokens, max_tokens),
        temperature=params.temperature,
        stop=tuple(params.stop_sequences or ()),
        tools=tuple(_function(tool) for tool in params.tools or ()),
        tool_choice=params.tool_choice.mode if params.tool_choice else None,
        hints=tuple(hint.name for hint in preferences.hints or () if hint.name),
        cost_priority=preferences.cost_priority,
        speed_priority=preferences.speed_priority,
        intelligence_priority=preferences.intelligence_priority,
    )


def result_of(
    answer: SamplingAnswer, params: types.CreateMessageRequestParams
) -> types.CreateMessageResult | types.CreateMessageResultWithTools:
    """Return the model's answer in MCP's types; with tools it may hold calls of them."""
    text = types.TextContent(text=answer.text)
    reason = FINISH[answer.finish_reason]
    if not params.tools:
        return types.CreateMessageResult(role="assistant", content=text, model=answer.model, stop_reason=reason)
    calls = [types.ToolUseContent(id=call.id, name=call.name, input=dict(call.arguments)) for call in answer.tool_calls]
    blocks: list[types.SamplingMessageContentBlock] = [*([text] if answer.text or not calls else []), *calls]
    return types.CreateMessageResultWithTools(role="assistant", content=blocks, model=answer.model, stop_reason=reason)


def _function(tool: types.Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema}
    return {"type": "function", "function": function}


def _chat_messages(message: types.SamplingMessage) -> Iterable[dict[str, Any]]:
    """Yield the chat messages for one message of MCP: tool results become messages of their own."""
    blocks = message.content_as_list
    for block in blocks:
        if isinstance(block, types.ToolResultContent):
            text = text_of(block.content, block.structured_content)
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": text}
    calls = [_call(block) for block in blocks if isinstance(block, types.ToolUseContent)]
    parts = [part for block in blocks if (part := _part(block)) is not None]
    if parts or calls:
        only_text = all(part["type"] == "text" for part in parts)
        content: Any = "\n".join(part["text"] for part in parts) if only_text else parts
        yield {"role": message.role, "content": content, **({"tool_calls": calls} if calls else {})}


def _part(block: types.SamplingMessageContentBlock) -> dict[str, Any] | None:
    match block:
        case types.TextContent(text=text):
            return {"type": "text", "text": text}
        case types.ImageContent(mime_type=media_type, data=data):
            return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}
        case types.AudioContent(mime_type=media_type, data=data):
            audio = {"data": data, "format": _AUDIO_FORMATS.get(media_type, media_type.rpartition("/")[2])}
            return {"type": "input_audio", "input_audio": audio}
        case _:
            return None


def _call(block: types.ToolUseContent) -> dict[str, Any]:
    function = {"name": block.name, "arguments": json_text.encode(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function}

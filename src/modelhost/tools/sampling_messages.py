"""The messages of ``sampling/createMessage``, from MCP's words to ours and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import mcp_types as types

from modelhost import json_text
from modelhost.tools.content import text_of
from modelhost.tools.sampling import SamplingAnswer, SamplingRequest

FINISH: Final[Mapping[str, str]] = {"stop": "endTurn", "length": "maxTokens", "tool_calls": "toolUse"}
_AUDIO_FORMATS: Final[Mapping[str, str]] = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3"}


def request_of(server: str, params: types.CreateMessageRequestParams, max_tokens: int) -> SamplingRequest:
    """The wish of ``server`` in our words."""
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
    """The model's answer in the words of MCP; with tools it may hold calls of them."""
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
    """One message of MCP, whose results of tools are messages of their own in a chat."""
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
    function = {"name": block.name, "arguments": json_text.encoded(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function}

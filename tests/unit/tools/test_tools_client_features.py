"""A server's wish to have a model write, in the words of the chat API and back."""

from __future__ import annotations

import mcp_types as types

from modelhost.tools.callbacks import SampledCall, SamplingAnswer
from modelhost.tools.client_features import request_of, result_of


def params(*messages: types.SamplingMessage, **fields: object) -> types.CreateMessageRequestParams:
    return types.CreateMessageRequestParams.model_validate({"messages": list(messages), "max_tokens": 500, **fields})


def said(text: str) -> types.SamplingMessage:
    return types.SamplingMessage(role="user", content=types.TextContent(text=text))


def test_a_plain_wish() -> None:
    request = request_of(
        "s",
        params(
            said("Hello"),
            system_prompt="Be brief.",
            temperature=0.5,
            stop_sequences=["END"],
            model_preferences=types.ModelPreferences(hints=[types.ModelHint(name="qwen")], speed_priority=1.0),
        ),
        max_tokens=100,
    )
    assert request.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    )
    assert (request.max_tokens, request.temperature, request.stop) == (100, 0.5, ("END",))
    assert (request.hints, request.speed_priority) == (("qwen",), 1.0)


def test_an_image_is_a_part_of_the_message() -> None:
    blocks = [types.TextContent(text="What is it?"), types.ImageContent(data="AAAA", mime_type="image/png")]
    request = request_of("s", params(types.SamplingMessage(role="user", content=blocks)), max_tokens=100)
    assert request.messages[0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


def test_tools_and_their_results() -> None:
    call = types.ToolUseContent(id="1", name="now", input={"zone": "UTC"})
    result = types.ToolResultContent(tool_use_id="1", content=[types.TextContent(text="noon")])
    tool = types.Tool(name="now", description="The time.", input_schema={"type": "object"})
    request = request_of(
        "s",
        params(
            types.SamplingMessage(role="assistant", content=call),
            types.SamplingMessage(role="user", content=[result]),
            tools=[tool],
            tool_choice=types.ToolChoice(mode="required"),
        ),
        max_tokens=100,
    )
    function = {"name": "now", "arguments": '{"zone":"UTC"}'}
    assert request.messages == (
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    )
    assert request.tools[0]["function"]["name"] == "now"
    assert request.tool_choice == "required"


def test_the_answer_without_and_with_tools() -> None:
    plain = result_of(SamplingAnswer(text="Hi", model="nano", finish_reason="length"), params(said("Hello")))
    assert isinstance(plain, types.CreateMessageResult)
    assert (plain.content, plain.model, plain.stop_reason) == (types.TextContent(text="Hi"), "nano", "maxTokens")
    call = SampledCall(id="1", name="now", arguments={})
    answer = SamplingAnswer(text="", model="nano", finish_reason="tool_calls", tool_calls=(call,))
    tool = types.Tool(name="now", input_schema={"type": "object"})
    rich = result_of(answer, params(said("Hello"), tools=[tool]))
    assert isinstance(rich, types.CreateMessageResultWithTools)
    assert rich.content_as_list == [types.ToolUseContent(id="1", name="now", input={})]
    assert rich.stop_reason == "toolUse"

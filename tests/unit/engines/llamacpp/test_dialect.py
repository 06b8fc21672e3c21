"""Requests and errors in llama.cpp's dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelhost.engines.llamacpp.dialect import TYPES, adapt_request, error_from
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.errors import (
    ContextLengthExceeded,
    EngineError,
    InvalidRequest,
    ModelhostError,
    UnsupportedOperation,
    UnsupportedParameter,
)
from modelhost.exchange.tasks import Task

MESSAGES = [{"role": "user", "content": "hello"}]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def chat(**fields: Any) -> dict[str, Any]:
    return adapt_request("chat", {"messages": MESSAGES, **fields})


def translate(message: str, kind: str = "server_error", status: int = 500, **more: Any) -> ModelhostError:
    payload = {"error": {"message": message, "type": kind, "code": status, **more}}
    return error_from(status, payload, model="m", worker="m/1")


@pytest.mark.parametrize(("seed", "sent"), [(0, 0), (7, 7), (2**31, 0), (2**40 + 3, 3), (-1, -1), (-9, -1)])
def test_no_seed_is_cut_down_to_the_one_that_means_any(seed: int, sent: int) -> None:
    assert chat(seed=seed)["seed"] == sent


def test_fields_get_llamacpps_names() -> None:
    assert chat(repetition_penalty=1.2)["repeat_penalty"] == 1.2


@pytest.mark.parametrize(
    ("effort", "kwargs", "sent"),
    [
        ("high", None, {"reasoning_effort": "high"}),
        ("none", None, {"enable_thinking": False}),
        ("low", {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ("low", {"x": 1}, {"reasoning_effort": "low", "x": 1}),
    ],
)
def test_the_reasoning_effort_goes_to_the_template(effort: str, kwargs: Any, sent: dict[str, Any]) -> None:
    body = chat(reasoning_effort=effort, **({} if kwargs is None else {"chat_template_kwargs": kwargs}))
    assert body["chat_template_kwargs"] == sent
    assert "reasoning_effort" not in body


DEEP = f"{'[' * 300}{']' * 300}"


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("", {}),
        (" ", {}),
        ("null", {}),
        (None, {}),
        ("not json", {"text": "not json"}),
        ("[1]", {"value": [1]}),
        ("7", {"value": 7}),
        ('{"a": 1180591620717411303424}', {"a": 2**70}),
        (DEEP, {"text": DEEP}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_arguments_in_the_history_become_the_json_of_an_object(arguments: Any, sent: dict[str, Any]) -> None:
    message = {"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": arguments}}]}
    (adapted_message,) = chat(messages=[message])["messages"]
    assert json.loads(adapted_message["tool_calls"][0]["function"]["arguments"]) == sent
    assert message["tool_calls"][0]["function"]["arguments"] == arguments  # type: ignore[index]


def test_arguments_in_the_history_that_are_nested_too_deep_to_be_written_are_refused() -> None:
    message = {
        "role": "assistant",
        "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": json.loads(DEEP)}}],
    }
    with pytest.raises(InvalidRequest, match="cannot be passed on"):
        chat(messages=[message])


def test_a_refusal_in_the_history_becomes_text() -> None:
    message = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert chat(messages=[message])["messages"] == [{"role": "assistant", "content": [{"type": "text", "text": "no"}]}]


@pytest.mark.parametrize("name", sorted(TYPES))
def test_what_llamacpp_takes_in_silence_is_checked(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat(**{name: object()})
    assert refused.value.param == name


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {"type": "integer"}}}}}]


def test_a_required_call_is_asked_for_as_json_with_the_tools_in_sight() -> None:
    body = LlamaCpp().adapt("chat", {"messages": MESSAGES, "tools": TOOLS, "tool_choice": "required"})
    assert body.keys().isdisjoint({"tools", "tool_choice"})
    assert body["chat_template_kwargs"] == {"tools": TOOLS}
    assert body["response_format"]["json_schema"]["schema"]["properties"]["name"] == {"const": "f"}


@pytest.mark.parametrize("fields", [{"tool_choice": "auto"}, {"tool_choice": "required", "grammar": 'root ::= "a"'}])
def test_other_calls_are_llamacpps_own_business(fields: dict[str, Any]) -> None:
    body = LlamaCpp().adapt("chat", {"messages": MESSAGES, "tools": TOOLS, **fields})
    assert body["tools"] == TOOLS


def test_a_prompt_that_is_too_long_tells_both_counts() -> None:
    error = translate("too long", "exceed_context_size_error", 400, n_prompt_tokens=9, n_ctx=8)
    assert isinstance(error, ContextLengthExceeded)
    assert error.details == {"prompt_tokens": 9, "context_length": 8}
    error = translate("input (9 tokens) is too large to process. increase it (current batch size: 8)")
    assert isinstance(error, ContextLengthExceeded)
    assert (error.details, error.param) == ({"prompt_tokens": 9, "context_length": 8}, "input")
    assert "with a larger --engine-option batch_size, up to its --context-length" in error.message


@pytest.mark.parametrize(
    ("message", "kind", "param"),
    [
        ("image input is not supported - hint: mmproj", UnsupportedOperation, None),
        ("unsupported content[].type", UnsupportedOperation, None),
        ("logprobs is not supported with tools + stream", UnsupportedParameter, "logprobs"),
        ("Field 'typical_p': [json.exception.type_error.302] type must be number", InvalidRequest, "typical_p"),
        ("vector::_M_range_check: __n (which is 9) >= this->size() (which is 8)", InvalidRequest, "tokens"),
        ("Unknown reasoning format: x", InvalidRequest, None),
        ("Cannot use both json_schema and grammar", InvalidRequest, None),
        ("Failed to parse messages: key 'text' not found", InvalidRequest, None),
        ("something else", EngineError, None),
    ],
)
def test_messages_are_told_apart(message: str, kind: type[ModelhostError], param: str | None) -> None:
    error = translate(message)
    assert type(error) is kind
    assert error.param == param


@pytest.mark.parametrize(
    "message",
    [
        "The model produced output that does not match the expected peg-native format",
        "Failed to parse input at pos 12: <tool_call>",
    ],
)
def test_the_models_own_output_is_marked_as_the_cause(message: str) -> None:
    assert translate(message).details["model_output"] is True


@pytest.mark.parametrize(
    "message", ["something else", "got exception: Unexpected empty grammar stack after accepting piece: 6 (30)"]
)
def test_a_failure_of_the_engine_is_no_end_of_an_answer(message: str) -> None:
    assert "model_output" not in translate(message).details


@pytest.mark.parametrize("payload", [None, [], "text", {}, {"error": "text"}, {"error": None}])
def test_an_answer_without_an_error_object_is_an_error_of_the_engine(payload: Any) -> None:
    error = error_from(500, payload, model="m", worker="m/1")
    assert isinstance(error, EngineError)
    assert error.source == {"kind": "worker", "model": "m", "worker": "m/1"}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"continue_final_message": True, "add_generation_prompt": False}),
        ({"continue_final_message": True}, {"continue_final_message": True, "add_generation_prompt": False}),
        ({"continue_final_message": False}, {}),
        ({"add_generation_prompt": True}, {"add_generation_prompt": True}),
        ({"add_generation_prompt": False}, {"continue_final_message": True, "add_generation_prompt": False}),
        (
            {"continue_final_message": True, "add_generation_prompt": True},  # which it refuses
            {"continue_final_message": True, "add_generation_prompt": True},
        ),
    ],
    ids=str,
)
def test_a_message_of_the_models_is_gone_on_with_unless_the_request_says_otherwise(
    given: dict[str, Any], sent: dict[str, Any]
) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    body = adapt_request("chat", {"messages": messages, **given})
    del body["messages"]
    assert body == sent


@pytest.mark.parametrize("last", [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [CALL]}])
def test_other_messages_are_not_gone_on_with(last: dict[str, Any]) -> None:
    body = adapt_request("chat", {"messages": [last]})
    assert body.keys() == {"messages"}


@pytest.mark.parametrize(
    ("task", "given", "sent"),
    [
        ("chat", {"logprobs": True}, {"logprobs": True, "top_logprobs": 1}),
        ("chat", {"logprobs": True, "top_logprobs": 0}, {"logprobs": True, "top_logprobs": 1}),
        ("chat", {"logprobs": True, "top_logprobs": 7}, {"logprobs": True, "top_logprobs": 7}),
        ("completions", {"logprobs": 0}, {"logprobs": 1}),
        ("completions", {"logprobs": 3}, {"logprobs": 3}),
    ],
)
def test_log_probabilities_are_asked_for_of_one_token_at_least(
    task: Task, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    message = {"messages": [{"role": "user", "content": "a"}]} if task == "chat" else {}
    assert adapt_request(task, {**message, "stream": True, **given}) == {**message, "stream": True, **sent}


def test_beside_tools_they_are_asked_for_of_the_whole_answer() -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "tools": [{}], "logprobs": True}
    sent = adapt_request("chat", {**body, "stream": True, "stream_options": {"include_usage": True}})
    assert sent == {**body, "top_logprobs": 1, "stream": False}

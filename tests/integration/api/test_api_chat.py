"""``/v1/chat/completions`` and its sampling fields, with real workers and the openai client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from tests.integration.api.talk import HELLO, Talk, as_messages, error_of, finish_of, text_of
from tests.support.serving import HostPool


@pytest.mark.promise("candle-vllm.endpoints.chat", "mistralrs.api.http")
def test_a_whole_answer_has_every_part_that_openai_promises(any_talk: Talk) -> None:
    answer = any_talk.chat()
    (choice,) = answer.choices
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.created > 0
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens <= 16
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_is_the_whole_answer_in_pieces(any_talk: Talk) -> None:
    whole = any_talk.chat(temperature=0)
    chunks = any_talk.chunks(temperature=0)
    assert text_of(chunks) == whole.choices[0].message.content
    assert finish_of(chunks) == [whole.choices[0].finish_reason]
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"


async def test_the_async_client_gets_many_answers_at_once(any_talk: Talk) -> None:
    async with any_talk.host.async_client() as client:

        async def ask() -> str:
            stream = await client.chat.completions.create(
                model=any_talk.model, messages=as_messages(HELLO), stream=True, max_tokens=8, temperature=0
            )
            return text_of([chunk async for chunk in stream])

        async with asyncio.timeout(60):
            texts = await asyncio.gather(*(ask() for _ in range(12)))
    assert all(texts)


@pytest.mark.parametrize("include_usage", [True, False, None])
def test_a_stream_tells_the_usage_exactly_when_asked(any_talk: Talk, include_usage: bool | None) -> None:
    options = {} if include_usage is None else {"stream_options": {"include_usage": include_usage}}
    chunks = any_talk.chunks(**options)
    told = [chunk for chunk in chunks if chunk.usage is not None]
    empty = [chunk for chunk in chunks if not chunk.choices]
    assert empty == told
    assert len(told) == (1 if include_usage else 0)
    if include_usage:
        assert told[0] is chunks[-1]
        assert told[0].usage is not None
        assert told[0].usage.completion_tokens > 0


def test_a_stream_ends_with_the_end_marker_and_is_marked_as_events(any_talk: Talk) -> None:
    response = any_talk.post_chat(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")
    assert response.text.count("[DONE]") == 1


def test_several_choices_come_with_their_indexes_and_one_usage(any_talk: Talk) -> None:
    one = any_talk.chat(n=1)
    answer = any_talk.chat(n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)
    assert one.usage is not None
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == one.usage.prompt_tokens
    assert answer.usage.completion_tokens >= 3


def test_several_choices_stream_side_by_side_under_one_id(any_talk: Talk) -> None:
    chunks = any_talk.chunks(n=3, stream_options={"include_usage": True})
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(len(finish_of(chunks, index)) == 1 for index in range(3))
    assert all(text_of(chunks, index) for index in range(3))
    assert [chunk.usage is not None for chunk in chunks].count(True) == 1


# A model that is sure of its answer gives it at any temperature, as long as the unlikely tokens are cut off.
ANYTHING_GOES: dict[str, Any] = {
    "temperature": 2,
    "top_p": 1,
    "max_tokens": 24,
    "extra_body": {"top_k": 0, "min_p": 0},
}


def test_choices_of_one_seed_differ_from_each_other(nano: Talk) -> None:
    choices = nano.chat("Tell me something.", n=4, seed=11, **ANYTHING_GOES).choices
    assert len({choice.message.content for choice in choices}) > 1


@pytest.mark.parametrize("seed", [0, 7, 2**40, 2**63])
def test_the_same_seed_gives_the_same_text_at_temperature_one(nano: Talk, seed: int) -> None:
    texts = {nano.chat("Tell me something.", seed=seed, temperature=1.5).choices[0].message.content for _ in range(3)}
    assert len(texts) == 1


def test_different_seeds_give_different_texts(nano: Talk) -> None:
    texts = {
        nano.chat("Tell me something.", seed=seed, **ANYTHING_GOES).choices[0].message.content for seed in range(8)
    }
    assert len(texts) > 1


def test_greedy_answers_are_always_the_same(nano: Talk) -> None:
    assert len({nano.chat(temperature=0).choices[0].message.content for _ in range(3)}) == 1


@pytest.mark.parametrize("field", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 0.0}])
def test_sampling_fields_that_leave_one_token_make_a_hot_model_greedy(nano: Talk, field: dict[str, Any]) -> None:
    greedy = nano.chat(temperature=0).choices[0].message.content
    # Cold but for one token's worth of noise: the field has to do the cutting.
    texts = {nano.chat(temperature=1.0, seed=seed, extra_body=field).choices[0].message.content for seed in range(4)}
    assert texts == {greedy}


def test_a_logit_bias_forbids_a_token(nano: Talk) -> None:
    greedy = nano.chat(temperature=0, max_tokens=1, logprobs=True, extra_body={"top_logprobs": 1})
    assert greedy.choices[0].logprobs is not None
    assert greedy.choices[0].logprobs.content is not None
    token = nano.post("/tokenize", {"content": greedy.choices[0].logprobs.content[0].token}).json()["tokens"][0]
    other = nano.chat(temperature=0, max_tokens=1, logit_bias={str(token): -100})
    assert other.choices[0].message.content != greedy.choices[0].message.content


@pytest.mark.parametrize(
    "field",
    [
        {"presence_penalty": 1.5},
        {"frequency_penalty": -1.5},
        {"repetition_penalty": 1.3},
        {"repeat_penalty": 1.3},
        {"typical_p": 0.9},
        {"mirostat": 2},
        {"dry_multiplier": 0.5},
        {"xtc_probability": 0.1},
        {"reasoning_effort": "low"},
        {"reasoning_effort": "none"},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"parallel_tool_calls": False},
        {"user": "me"},
        {"metadata": {"a": "b"}},
        {"store": False},
        {"service_tier": "auto"},
        {"safety_identifier": "x"},
        {"prompt_cache_key": "x"},
        {"prompt_cache_retention": "24h"},
        {"modalities": ["text"]},
        {"temperature": None, "top_p": None, "stop": None, "tools": None, "seed": None},
        {"tools": []},
        {"tool_choice": "auto"},
        {"response_format": {"type": "text"}},
    ],
    ids=lambda field: next(iter(field)),
)
def test_what_clients_send_as_a_matter_of_course_is_taken(any_talk: Talk, field: dict[str, Any]) -> None:
    response = any_talk.post_chat(**field)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_answer_is_cut_at_the_token_limit(any_talk: Talk, name: str) -> None:
    body = {"messages": as_messages("/tokens 50" if any_talk.model == "scripted" else HELLO), name: 2}
    answer = any_talk.post("/v1/chat/completions", body).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


def test_a_stop_text_ends_the_answer_of_a_real_model(nano: Talk) -> None:
    whole = nano.chat(temperature=0).choices[0].message.content
    assert whole
    stopped = nano.chat(temperature=0, stop=[whole[2]])
    assert stopped.choices[0].message.content == whole[: whole.index(whole[2])]
    assert stopped.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_come_for_each_token_with_the_likeliest_others(nano: Talk, stream: bool) -> None:
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 3, "max_tokens": 4, "temperature": 0}
    if stream:
        found = [choice.logprobs for chunk in nano.chunks(**asked) for choice in chunk.choices if choice.logprobs]
        tokens = [token for each in found for token in each.content or []]
    else:
        logprobs = nano.chat(**asked).choices[0].logprobs
        assert logprobs is not None
        tokens = logprobs.content or []
    assert 0 < len(tokens) <= 4
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token
        assert bytes(token.bytes or []).decode(errors="replace") == token.token


def test_without_asking_there_are_no_logprobs(any_talk: Talk) -> None:
    assert any_talk.chat().choices[0].logprobs is None


SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["yes", "no"]}, "sure": {"type": "boolean"}, "points": {"enum": [1, 2, 3]}},
    "required": ["answer", "sure", "points"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0, 2])
def test_an_answer_under_a_json_schema_parses_and_validates(nano: Talk, temperature: float) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}}
    answer = nano.chat("Is it?", response_format=shape, temperature=temperature, max_tokens=200)
    jsonschema.validate(json.loads(answer.choices[0].message.content or ""), SCHEMA)
    streamed = nano.chunks("Is it?", response_format=shape, temperature=temperature, max_tokens=200)
    jsonschema.validate(json.loads(text_of(streamed)), SCHEMA)


def test_an_answer_as_json_object_begins_as_one(nano: Talk) -> None:
    answer = nano.chat(response_format={"type": "json_object"}, temperature=0, max_tokens=100)
    text = answer.choices[0].message.content or ""
    assert text.lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    "shape",
    [
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objekt"}}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/nowhere"}}},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        {"type": "json_schema"},
        {"type": "yaml"},
        "json",
    ],
    ids=str,
)
def test_a_bad_response_format_is_the_callers_fault(nano: Talk, shape: Any) -> None:
    response = nano.post_chat(response_format=shape)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}],
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}],
        [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hello", "name": "Ann"}],
        [*as_messages("Hello"), {"role": "assistant", "content": "Hi."}, *as_messages("Hello")],
        [*as_messages("Hello"), {"role": "assistant", "content": None, "refusal": "No."}, *as_messages("Hello")],
        [
            *as_messages("Hello"),
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            *as_messages("Hello"),
        ],
        [*as_messages("Hello"), {"role": "assistant", "content": "", "tool_calls": []}, *as_messages("Hello")],
    ],
)
def test_conversations_of_every_shape_are_understood(any_talk: Talk, messages: list[Any]) -> None:
    response = any_talk.post_chat(messages)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "AAAA", "filename": "a.pdf"}},
    ],
    ids=lambda part: part["type"],
)
def test_a_model_that_cannot_see_or_hear_says_so(nano: Talk, part: dict[str, Any]) -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}]
    for stream in (False, True):
        response = nano.post_chat(said, stream=stream)
        assert response.status_code == 400
        assert error_of(response)["code"] == "unsupported_operation"


def test_the_answer_stops_where_the_context_is_full(nano: Talk) -> None:
    context = nano.host.http.get("/v1/models/modelhost-nano").json()["context_length"]
    body = {"prompt": "word " * (context // 2 - 8), "max_tokens": 100, "ignore_eos": True}
    answer = nano.post("/v1/completions", body).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] <= context


def test_a_silent_stream_gets_comments_that_clients_overlook(hosts: HostPool) -> None:
    talk = Talk(hosts.host(engine="scripted", alias=["scripted"], keep_alive_interval=0.05))
    response = talk.post_chat("/delay 0.4 /echo hello", stream=True)
    assert ": keep-alive\n\n" in response.text
    assert response.text.endswith("data: [DONE]\n\n")
    assert text_of(talk.chunks("/delay 0.4 /tokens 2")) != ""
    assert talk.host.log_events("error") == []


def test_an_error_after_the_first_comment_is_an_event_of_the_stream(hosts: HostPool) -> None:
    talk = Talk(hosts.host(engine="scripted", alias=["scripted"], keep_alive_interval=0.05))
    response = talk.post_chat("/delay 0.4 /malformed 0", stream=True, n=2)
    assert response.status_code == 200
    assert '"code":"engine_error"' in response.text
    assert "[DONE]" not in response.text

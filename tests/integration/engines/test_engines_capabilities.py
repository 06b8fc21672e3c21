"""Every engine does what docs/reference/engines.md says of it: a request for each line of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from modelhost.engines.capabilities import FEATURES
from tests.integration.engines.served import TOOLS, WEATHER, WHO, Asking, Served

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SCHEMA = {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}}


def _chat(content: str = WHO, **parameters: Any) -> tuple[str, dict[str, Any]]:
    return CHAT, {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 30, **parameters}


def _echo(**parameters: Any) -> tuple[str, dict[str, Any]]:
    return COMPLETIONS, {"prompt": WHO, "echo": True, "max_tokens": 1, **parameters}


PROBES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "streaming": _chat(stream=True),
    "stop": _chat(stop=["tiny"]),
    "stop_token_ids": _chat(stop_token_ids=[5]),
    "min_tokens": _chat(min_tokens=3),
    "seed": _chat(seed=1, temperature=1),
    "cut_offs": _chat(top_k=3, top_p=0.5, min_p=0.1),
    "min_tokens_to_keep": _chat(min_tokens_to_keep=3),
    "penalties": _chat(frequency_penalty=0.1, presence_penalty=0.1, repetition_penalty=1.1),
    "logit_bias": _chat(logit_bias={"1": 1}),
    "logprobs": _chat(logprobs=True, top_logprobs=2),
    "echo": _echo(),
    "prompt_logprobs": _echo(logprobs=1),
    "choices": _chat(n=2),
    "usage": _chat(stream=True, stream_options={"include_usage": True}),
    "running_usage": _chat(stream=True, stream_options={"continuous_usage_stats": True}),
    "tools": _chat(WEATHER, tools=TOOLS),
    "forced_call": _chat(tools=TOOLS, tool_choice="required"),
    "no_call": _chat(WEATHER, tools=TOOLS, tool_choice="none"),
    "json_schema": _chat(response_format={"type": "json_schema", "json_schema": SCHEMA}),
    "json_object": _chat(response_format={"type": "json_object"}),
    "structured": _chat(guided_choice=["yes", "no"]),
    "context_end": _chat(max_tokens=5000),
    "tokenize": ("/tokenize", {"content": "I am"}),
    "tokenize_messages": ("/tokenize", {"messages": [{"role": "user", "content": "I am"}]}),
    "token_pieces": ("/tokenize", {"content": "I am", "with_pieces": True}),
    "markers_as_text": ("/tokenize", {"content": "I am", "parse_special": False}),
}
ELSEWHERE = {"context_overflow", "cancellation", "unknown_field", "suffix"}
"""Whose answer is an error anyway, or none, with this model; other tests look at it."""
ONLY_HERE = ("stop_token_ids", "llama-server")
"""What llama.cpp needs to be built with llguidance for, which programs of others seldom are."""
OF_OTHER_MODELS = {"embeddings": {"input": "a"}, "rerank": {"query": "a", "documents": ["b"]}}
"""What the tiny model may not be able to do, whatever its engine can."""


def test_every_line_of_the_table_is_asked_for() -> None:
    assert {*PROBES, *ELSEWHERE, *OF_OTHER_MODELS} == set(FEATURES)


@pytest.mark.parametrize("feature", PROBES)
def test_what_the_table_says_is_done_or_refused(asking: Asking, served: Served, feature: str) -> None:
    path, body = PROBES[feature]
    answer = asking.post(path, body)
    if served.capabilities.provider_of(feature) == "refused" or (feature, served.label) == ONLY_HERE:
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_parameter")
    else:
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("feature", OF_OTHER_MODELS)
def test_an_engine_without_vectors_says_so(asking: Asking, served: Served, feature: str) -> None:
    answer = asking.post(f"/v1/{feature}", OF_OTHER_MODELS[feature])
    if served.capabilities.provider_of(feature) == "refused":
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_operation")


def test_text_before_other_text_needs_an_engine_and_a_model_for_it(asking: Asking, served: Served) -> None:
    answer = asking.post(COMPLETIONS, {"prompt": "a", "suffix": "b"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", "suffix")
    assert ("vocabulary" in error["message"]) == (served.capabilities.provider_of("suffix") == "engine")

"""A server's wish as a chat request, and the model's answer as the server gets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from modelhost.chat.parsing.validation import validate
from modelhost.chat.tools.sampling import sampling_answer, sampling_request
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.tools.callbacks import SampledCall, SamplingRequest


@dataclass(frozen=True)
class Model:
    name: str
    aliases: tuple[str, ...] = ()


MODELS = [Model("modelhost-nano"), Model("qwen3-8b", ("chat",)), Model("qwen3-32b", ("claude-sonnet",))]
MESSAGES = ({"role": "user", "content": "Write."},)
TOOL = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object"}}}


def request(**fields: Any) -> SamplingRequest:
    return SamplingRequest(**({"server": "s", "messages": MESSAGES, "max_tokens": 50} | fields))


def answer(delta: dict[str, Any], finish_reason: str = "stop") -> WholeAnswer:
    found = WholeAnswer()
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    found.add(ChunkReader().read({"model": "nano", "choices": [choice]}))
    return found


def test_request_brings_no_tools_of_the_host() -> None:
    body = sampling_request(request(), MODELS)
    assert body == {"messages": [*MESSAGES], "max_tokens": 50, "tools": []}
    validate("chat", body)


def test_request_with_everything() -> None:
    body = sampling_request(
        request(temperature=0.0, stop=("END",), tools=(TOOL,), tool_choice="required", hints=("qwen",)), MODELS
    )
    assert body["tools"] == [TOOL]
    assert (body["temperature"], body["stop"], body["tool_choice"]) == (0.0, ["END"], "required")
    validate("chat", body)


def test_choice_of_tools_without_tools_is_left_out() -> None:
    assert "tool_choice" not in sampling_request(request(tool_choice="auto"), MODELS)


@pytest.mark.parametrize(
    ("hints", "model"),
    [
        ((), None),
        (("gpt-9",), None),
        (("gpt-9", "QWEN3"), "qwen3-8b"),
        (("32b",), "qwen3-32b"),
        (("claude-sonnet",), "qwen3-32b"),
        (("sonnet", "nano"), "qwen3-32b"),
    ],
)
def test_first_hint_that_is_part_of_a_name_or_an_alias_decides(hints: tuple[str, ...], model: str | None) -> None:
    assert sampling_request(request(hints=hints), MODELS).get("model") == model


@pytest.mark.parametrize(
    ("reason", "wanted"), [("stop", "stop"), ("length", "length"), ("tool_calls", "tool_calls"), ("odd", "stop")]
)
def test_answer_in_words(reason: str, wanted: str) -> None:
    found = sampling_answer(answer({"content": "Old pond."}, reason))
    assert (found.text, found.model, found.finish_reason, found.tool_calls) == ("Old pond.", "nano", wanted, ())


def test_answer_with_calls() -> None:
    calls = [
        {"index": 0, "id": "1", "function": {"name": "now", "arguments": '{"zone": "UTC"}'}},
        {"index": 1, "id": "2", "function": {"name": "now", "arguments": ""}},
        {"index": 2, "id": "3", "function": {"name": "now", "arguments": '{"zone": '}},
    ]
    found = sampling_answer(answer({"content": None, "tool_calls": calls}, "tool_calls"))
    assert found.text == ""
    assert found.tool_calls == (
        SampledCall(id="1", name="now", arguments={"zone": "UTC"}),
        SampledCall(id="2", name="now", arguments={}),
        SampledCall(id="3", name="now", arguments={}),
    )

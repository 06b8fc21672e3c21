"""Anthropic's API with the bundled model: counts, stop sequences, thinking and sessions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.media_files import png_url
from tests.support.serving import ServedHost
from tests.support.tool_hosts import config, stub_server, wait_for_tools

Json = dict[str, Any]
MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
NOTES = "x-modelhost-notes"
SYSTEM = [{"type": "text", "text": "You are kind."}, {"type": "text", "text": "Be brief."}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": "get_weather", "description": "Tells the weather of a city.", "input_schema": SCHEMA}]
HELLO = [{"role": "user", "content": "Hello!"}]
PREFILL = [*HELLO, {"role": "assistant", "content": "Good"}]
USED = [
    {"role": "user", "content": "How is the weather in Paris?"},
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "a", "name": "get_weather", "input": {"city": "Paris"}}],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "sunny"}]},
]


def post(host: ServedHost, path: str, messages: Any = HELLO, **fields: Any) -> httpx2.Response:
    headers = {"anthropic-version": "2023-06-01", **fields.pop("headers", {})}
    return host.http.post(path, json={"messages": messages, **fields}, headers=headers)


def message(host: ServedHost, messages: Any = HELLO, **fields: Any) -> Json:
    answer = post(host, MESSAGES, messages, **{"max_tokens": 16, "temperature": 0, **fields})
    found: Json = answer.json()
    assert answer.status_code == 200, found
    return found


def text_of(found: Json) -> str:
    return "".join(block["text"] for block in found["content"] if block["type"] == "text")


def prompt_tokens(found: Json) -> int:
    usage = found["usage"]
    return int(usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"])


# Counting.


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        (HELLO, {}),
        (HELLO, {"system": SYSTEM}),
        (HELLO, {"tools": TOOLS, "system": "Be brief."}),
        (USED, {"tools": TOOLS}),
        (PREFILL, {}),
        (PREFILL, {"system": SYSTEM, "tools": TOOLS, "tool_choice": {"type": "auto"}}),
        (HELLO, {"thinking": {"type": "adaptive"}}),
    ],
    ids=["plain", "system", "tools", "results", "prefill", "everything", "thinking"],
)
def test_a_count_is_the_usage_of_the_request(nano_host: ServedHost, messages: list[Json], fields: Json) -> None:
    counted = post(nano_host, COUNT, messages, **fields)
    assert counted.status_code == 200, counted.text
    assert counted.json() == {"input_tokens": prompt_tokens(message(nano_host, messages, **fields))}
    assert "estimated" not in counted.headers.get(NOTES, "")


def test_a_count_has_the_tools_of_the_host(start_host: Callable[..., ServedHost], tmp_path: Path) -> None:
    host = wait_for_tools(start_host(mcp_config=config(tmp_path, stub=stub_server(tools=["echo"]))))
    counted = post(host, COUNT).json()["input_tokens"]
    assert counted == prompt_tokens(message(host))
    assert counted > post(host, COUNT, tools=[]).json()["input_tokens"]


def test_a_count_takes_the_images_that_an_answer_takes(nano_host: ServedHost) -> None:
    assert post(nano_host, MESSAGES, max_tokens=1).status_code == httpx2.codes.OK  # so that it is loaded
    data = png_url().partition(",")[2]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    for path, fields in ((MESSAGES, {"max_tokens": 1}), (COUNT, {})):
        refused = post(nano_host, path, [{"role": "user", "content": [image]}], **fields)
        assert (refused.status_code, "takes no images" in refused.json()["error"]["message"]) == (400, True)
    result = {"type": "tool_result", "tool_use_id": "a", "content": [image]}
    shown = [*USED[:2], {"role": "user", "content": [result]}]
    used = post(nano_host, MESSAGES, shown, max_tokens=1).json()["usage"]
    counted = post(nano_host, COUNT, shown)
    assert counted.json() == {"input_tokens": used["input_tokens"] + used["cache_read_input_tokens"]}
    assert counted.headers[NOTES] == "ignored=image"


def test_without_the_model_a_count_is_an_estimate_and_has_it_not_loaded(
    start_host: Callable[..., ServedHost],
) -> None:
    host = start_host()
    exact = post(host, COUNT, system=SYSTEM, tools=TOOLS).json()["input_tokens"]
    name = host.http.get("/v1/models").json()["data"][0]["id"]
    assert host.http.post("/v1/models/unload", json={"model_id": name}).status_code == 200
    answer = post(host, COUNT, system=SYSTEM, tools=TOOLS)
    found = answer.json()
    assert found["estimated"] is True
    assert exact / 4 < found["input_tokens"] < exact * 4
    chinese = post(host, COUNT, [{"role": "user", "content": "水" * 350}]).json()
    assert chinese == {"input_tokens": 304, "estimated": True}  # of text in English it would be 104
    assert "estimated" in answer.headers[NOTES]
    assert host.http.get("/v1/models").json()["data"][0]["state"] == "unloaded"
    assert host.worker_pids() == []


# Answers.


def test_any_name_of_claude_is_the_active_model(nano_host: ServedHost) -> None:
    assert message(nano_host, model="claude-sonnet-4-5")["model"] == "modelhost-nano"
    answer = post(nano_host, MESSAGES, model="gpt-4o", max_tokens=1)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


def test_a_stop_sequence_is_named_and_not_in_the_text(nano_host: ServedHost) -> None:
    whole = text_of(message(nano_host))
    sequence = whole.split()[1]
    found = message(nano_host, stop_sequences=["never said", sequence])
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", sequence)
    assert text_of(found) == whole[: whole.index(sequence)]
    assert 0 < found["usage"]["output_tokens"] <= 16
    found = message(nano_host, stop_sequences=["never said"])
    assert (text_of(found), found["stop_sequence"]) == (whole, None)


def test_a_stop_sequence_ends_a_stream(nano_host: ServedHost) -> None:
    sequence = text_of(message(nano_host)).split()[1]
    answer = post(nano_host, MESSAGES, max_tokens=16, temperature=0, stop_sequences=[sequence], stream=True)
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    said = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    assert sequence not in said
    assert events[-2]["delta"]["stop_sequence"] == sequence
    assert events[-2]["usage"]["output_tokens"] > 0
    assert events[-1] == {"type": "message_stop"}


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_a_model_that_cannot_think_has_no_thinking(nano_host: ServedHost, display: str) -> None:
    for thinking in ({"type": "adaptive", "display": display}, {"type": "enabled", "budget_tokens": 1024}):
        found = message(nano_host, thinking=thinking)
        assert {block["type"] for block in found["content"]} == {"text"}
        assert not (found["usage"]["output_tokens_details"] or {}).get("thinking_tokens")


def test_a_prefilled_answer_is_continued(nano_host: ServedHost) -> None:
    found = message(nano_host, PREFILL)
    assert found["content"][0]["type"] == "text"
    assert prompt_tokens(found) < prompt_tokens(message(nano_host, [*PREFILL, *HELLO]))


def test_a_tool_that_has_to_be_called_is_called(nano_host: ServedHost) -> None:
    found = message(nano_host, tools=TOOLS, tool_choice={"type": "tool", "name": "get_weather"}, max_tokens=100)
    (call,) = (block for block in found["content"] if block["type"] == "tool_use")
    assert (found["stop_reason"], call["name"], list(call["input"])) == ("tool_use", "get_weather", ["city"])


def test_a_prompt_that_is_too_long_is_refused_in_the_words_of_anthropic(nano_host: ServedHost) -> None:
    answer = post(nano_host, MESSAGES, [{"role": "user", "content": "word " * 5000}], max_tokens=1)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["message"].startswith("prompt is too long: ")


def test_an_image_that_a_tool_returned_does_not_end_the_conversation_of_a_model_without_eyes(
    nano_host: ServedHost,
) -> None:
    kind, _, data = png_url().removeprefix("data:").partition(";base64,")
    picture = {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}
    seen = [*USED[:2], {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [picture]}]}]
    answer = post(nano_host, MESSAGES, seen, max_tokens=8)
    assert (answer.status_code, answer.headers[NOTES]) == (200, "ignored=image")


def test_what_is_ignored_many_times_is_noted_once(nano_host: ServedHost) -> None:
    thought = [{"type": "redacted_thinking", "data": "x"}] * 150
    long = [*HELLO, {"role": "assistant", "content": [*thought, {"type": "text", "text": "Hi."}]}, *HELLO]
    answer = post(nano_host, MESSAGES, long, max_tokens=1)
    assert answer.headers.get_list(NOTES) == ["ignored=redacted_thinking"]


def test_of_many_notes_the_first_are_sent(nano_host: ServedHost) -> None:
    notes = post(nano_host, MESSAGES, max_tokens=1, **{f"unknown{place}": 1 for place in range(150)}).headers.get_list(
        NOTES
    )
    assert notes == [*(f"ignored=unknown{place}" for place in range(32)), "more-left-out"]


def test_every_answer_names_its_request(nano_host: ServedHost) -> None:
    for path, fields in ((MESSAGES, {"max_tokens": 1}), (MESSAGES, {}), (COUNT, {})):
        assert post(nano_host, path, **fields).headers["request-id"]


# Sessions.


def test_a_session_is_continued_by_a_header(nano_host: ServedHost) -> None:
    named = {"headers": {"X-Session-Id": "anthropic-session"}}
    answer = post(nano_host, MESSAGES, max_tokens=8, **named)
    assert answer.headers["x-session-id"] == "anthropic-session"
    again = message(nano_host, [{"role": "user", "content": "And now?"}], max_tokens=8, **named)
    alone = message(nano_host, [{"role": "user", "content": "And now?"}], max_tokens=8)
    assert prompt_tokens(again) > prompt_tokens(alone)
    answer = post(nano_host, MESSAGES, max_tokens=1, session_id="another", **named)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "session_id")


@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_of_zero_fills_the_cache_and_answers_nothing(nano_host: ServedHost, *, stream: bool) -> None:
    body = {"max_tokens": 0, "stream": stream, "system": "You count. " * 20, "messages": HELLO}
    answer = nano_host.http.post("/v1/messages", json=body)
    assert answer.status_code == 200
    if stream:
        assert "content_block_start" not in answer.text
        assert '"stop_reason":"max_tokens"' in answer.text
    else:
        found = answer.json()
        assert (found["content"], found["stop_reason"], found["usage"]["output_tokens"]) == ([], "max_tokens", 0)
    then = nano_host.http.post("/v1/messages", json={**body, "stream": False, "max_tokens": 1}).json()
    assert then["usage"]["cache_read_input_tokens"] > then["usage"]["input_tokens"]


def test_an_image_that_a_model_cannot_see_is_refused_by_the_path_of_its_block(nano_host: ServedHost) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}}
    content = [{"type": "text", "text": "What is it?"}, image]
    messages = [{"role": "user", "content": "Hi"}, {"role": "user", "content": content}]
    answer = nano_host.http.post("/v1/messages", json={"max_tokens": 1, "system": "Be brief.", "messages": messages})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages[1].content[1]")


def test_a_pdf_is_refused_by_its_path_with_the_way_out(nano_host: ServedHost) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}
    messages = [{"role": "user", "content": [{"type": "document", "source": source}]}]
    answer = nano_host.http.post("/v1/messages", json={"max_tokens": 1, "messages": messages})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages[0].content[0].source")
    assert "text" in answer.json()["error"]["message"]


def test_what_is_not_there_is_refused_in_its_format(nano_host: ServedHost) -> None:
    for method, path, headers in (
        ("POST", "/v1/messages/batches", {}),
        ("GET", "/v1/messages/batches/one/results", {}),
        ("GET", "/v1/files", {"anthropic-version": "2023-06-01"}),
    ):
        answer = nano_host.http.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (404, "error")
        assert answer.json()["error"]["type"] == "not_found_error"

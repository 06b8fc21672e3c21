"""Chat requests in which a real model chooses a tool of a real server, and what of the prompt its engine keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.mcp_peers import python_peer
from tests.support.serving import ServedHost
from tests.support.tool_hosts import chat, chunks, config, stub_server, told, tool_name, wait_for_tools

WEATHER = {"mcp": {"tools": ["get_weather"]}}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """The bundled model with a stub that tells the weather, and the time server of PyPI."""
    servers = {
        "weather": {**stub_server(tools=["get_weather"]), "prefix": ""},
        "time": {"command": python_peer("mcp-server-time"), "args": ["--local-timezone", "UTC"]},
    }
    path = config(tmp_path_factory.mktemp("nano"), **servers)
    with ServedHost(mcp_config=path, slots=1) as started:
        yield wait_for_tools(started)


def test_model_chooses_a_tool_and_answers_with_what_it_gave(host: ServedHost) -> None:
    answer = chat(host, "What is the weather in Paris?", temperature=0, **WEATHER)
    (call,) = answer["modelhost.tool_calls"]
    assert (call["name"], call["arguments"]) == ("get_weather", {"city": "Paris"})
    assert call["text"] == "It is sunny in Paris."
    assert "sunny" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_model_that_needs_no_tool_just_answers(host: ServedHost) -> None:
    answer = chat(host, "Hello!", temperature=0, **WEATHER)
    assert "modelhost.tool_calls" not in answer
    assert answer["choices"][0]["message"]["content"]


def test_real_server_answers_a_call_that_the_model_was_made_to_make(host: ServedHost) -> None:
    name = tool_name(host, "get_current_time")
    forced: Any = {"type": "function", "function": {"name": name}}
    answer = chat(
        host,
        "What is the time in UTC?",
        temperature=0,
        tool_choice=forced,
        mcp={"servers": ["time"], "tools": ["get_current_time"]},
    )
    calls = answer["modelhost.tool_calls"]
    assert calls[0]["name"] == name
    assert calls[0]["server"] == "time"
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")


@pytest.mark.promise("candle-vllm.injection")
def test_model_chooses_a_tool_of_a_real_server_by_itself(host: ServedHost) -> None:
    answer = chat(host, "What time is it in Berlin?", temperature=0, mcp={"servers": ["time"]})
    (call,) = answer["modelhost.tool_calls"]
    assert (call["tool"], call["arguments"]) == ("get_current_time", {"timezone": "Europe/Berlin"})
    assert not call["is_error"]
    assert "Europe/Berlin" in answer["choices"][0]["message"]["content"]


def test_second_turn_evaluates_only_what_is_new_of_its_prompt(host: ServedHost) -> None:
    first = chat(host, "What is the weather in Berlin?", temperature=0, mcp={"tools": ["get_weather"], "max_turns": 1})
    prompt = first["usage"]["prompt_tokens"]
    assert first["modelhost.finish_details"]["type"] == "turn_limit"
    answer = chat(host, "What is the weather in Berlin?", temperature=0, **WEATHER)
    assert len(answer["modelhost.tool_calls"]) == 1
    usage = answer["usage"]
    # Of the first turn at most all but its last token is known from the request before, of the second one all that
    # the first turn has read.
    assert usage["prompt_tokens"] > 2 * prompt
    assert usage["prompt_tokens_details"]["cached_tokens"] >= 2 * prompt - 2


def test_stream_with_a_real_model_and_a_client_of_the_trade(host: ServedHost) -> None:
    found = chunks(host, "What is the weather in Rome?", temperature=0, **WEATHER)
    assert told(found, "tool_call")[0]["arguments"] == {"city": "Rome"}
    assert told(found, "tool_result")[0]["text"] == "It is sunny in Rome."
    messages: Any = [{"role": "user", "content": "What is the weather in Rome?"}]
    with host.client().chat.completions.create(
        model="modelhost-nano", messages=messages, temperature=0, stream=True, extra_body=WEATHER
    ) as stream:
        text = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    assert "sunny" in text


def test_custom_tools_of_a_client_are_the_clients_own(host: ServedHost) -> None:
    custom = {"type": "custom", "custom": {"name": "get_weather", "description": "Tells the weather of a city."}}
    answer = chat(host, "What is the weather in Paris?", temperature=0, tools=[custom])
    assert "modelhost.tool_calls" not in answer
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert (call["type"], call["custom"]["name"]) == ("custom", "get_weather")
    said = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "It is rainy in Paris."},
        {"role": "user", "content": "What is the weather in Berlin?"},
    ]
    response = host.http.post("/v1/chat/completions", json={"messages": said, "temperature": 0, **WEATHER})
    assert response.status_code == 200, response.text
    assert [call["name"] for call in response.json()["modelhost.tool_calls"]] == ["get_weather"]

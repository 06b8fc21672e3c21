"""FluidMCP, really running, in front of ``modelhost mcp llm``: the ``curl`` examples of its vLLM server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.fluidmcp import fluidmcp


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with fluidmcp(tmp_path_factory.mktemp("fluidmcp")) as client:
        yield client


def post(client: httpx2.Client, message: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/vllm/mcp", json=message)
    assert answer.status_code == httpx2.codes.OK, answer.text
    found: dict[str, Any] = answer.json()
    return found


def call(client: httpx2.Client, tool: str, key: int = 1, **arguments: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    answer = post(client, message)
    assert answer["id"] == key
    assert not answer["result"]["isError"], answer
    result: dict[str, Any] = answer["result"]
    return result


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.promise("vllm-mcp.run")
def test_the_first_example_is_answered(gateway: httpx2.Client) -> None:
    result = call(gateway, "chat_completion", messages=user("What is machine learning?"), max_tokens=100)
    assert result["content"][0]["text"].strip()
    assert json.loads(result["content"][1]["text"]) == result["structuredContent"]
    assert result["structuredContent"]["content"] == result["content"][0]["text"]


@pytest.mark.promise("vllm-mcp.sessions")
def test_two_turns_are_one_conversation_as_the_example_has_it_without_id_and_version(gateway: httpx2.Client) -> None:
    for text, expected in (("My name is Alice", ""), ("What is my name?", "Alice")):
        arguments = {"session_id": "user-123", "messages": user(text), "temperature": 0}
        params = {"name": "chat_completion", "arguments": arguments}
        answer = post(gateway, {"method": "tools/call", "params": params})
        assert answer["id"] is None
        assert expected in answer["result"]["content"][0]["text"]


@pytest.mark.promise("vllm-mcp.info.fields")
def test_model_info_says_what_the_seed_says(gateway: httpx2.Client) -> None:
    call(gateway, "chat_completion", messages=user("Hello"), max_tokens=2)  # which loads the model
    info = json.loads(call(gateway, "model_info")["content"][0]["text"])
    assert set(info) >= {
        *("model_name", "dtype", "max_model_len", "tensor_parallel_size", "gpu_memory_utilization", "server_state"),
        *("active_sessions", "max_sessions", "max_session_messages", "default_temperature", "default_max_tokens"),
    }
    assert (info["server_state"], info["max_sessions"], info["default_max_tokens"]) == ("ready", 100, 512)


@pytest.mark.promise("vllm-mcp.fluidmcp")
def test_200_calls_do_not_slip(gateway: httpx2.Client) -> None:
    for number in range(100):
        listed = post(gateway, {"jsonrpc": "2.0", "id": 2 * number, "method": "tools/list"})
        assert listed["id"] == 2 * number
        assert [tool["name"] for tool in listed["result"]["tools"]] == ["chat_completion", "model_info"]
        asked = {"messages": user(f"Say {number}."), "max_tokens": 2, "headers": {"Authorization": "Bearer secret"}}
        assert call(gateway, "chat_completion", 2 * number + 1, **asked)["content"][0]["type"] == "text"


@pytest.mark.promise("vllm-mcp.fluidmcp")
def test_nothing_freezes_the_gateway(gateway: httpx2.Client) -> None:
    for message in (
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}},
        {"hello": "there"},
        {"jsonrpc": "2.0", "id": 5, "method": "no/such/method"},
        {
            "jsonrpc": "2.0",
            "id": 6,
            "method": "tools/call",
            "params": {
                "name": "chat_completion",
                "arguments": {"messages": user("Hi"), "max_tokens": 5},
                "_meta": {"progressToken": "p"},
            },
        },
    ):
        assert post(gateway, message).get("id") == message.get("id")
    assert post(gateway, {"jsonrpc": "2.0", "id": 7, "method": "ping"}) == {"jsonrpc": "2.0", "id": 7, "result": {}}


def test_its_other_ways_in_work(gateway: httpx2.Client) -> None:
    listed = gateway.get("/vllm/mcp/tools/list").json()
    assert [tool["name"] for tool in listed["result"]["tools"]] == ["chat_completion", "model_info"]
    events = gateway.post("/vllm/sse", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).text
    assert re.match(r'data: \{"jsonrpc":"2.0","id":1,', events)

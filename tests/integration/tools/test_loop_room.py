"""A real model whose context is too small for what tools return, or for the tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import ServedHost
from tests.support.tool_hosts import chat, chunks, config, stub_server, told, wait_for_tools

QUESTION = "What is the weather in Paris?"
SUNNY = "It is sunny in Paris. " * 2000


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """The bundled model, whose tool returns ten times what the context holds."""
    weather = stub_server(
        tools=["get_weather"], results={"get_weather": {"content": [{"type": "text", "text": SUNNY}]}}
    )
    path = config(tmp_path_factory.mktemp("room"), weather={**weather, "prefix": ""})
    with ServedHost(mcp_config=path, slots=1, context_length=1024) as started:
        yield wait_for_tools(started)


def test_a_result_that_is_larger_than_the_context_is_cut(host: ServedHost) -> None:
    answer = chat(host, QUESTION, temperature=0, max_tokens=60)
    (call,) = answer["modelhost.tool_calls"]
    assert call["text"] == SUNNY
    assert answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] in {"stop", "length"}
    # The second prompt takes most of the context, and leaves room for the answer.
    assert 700 < answer["usage"]["prompt_tokens"] < 1024


def test_a_stream_with_such_a_result_ends_as_others_do(host: ServedHost) -> None:
    found = chunks(host, QUESTION, temperature=0, max_tokens=60)
    assert len(told(found, "tool_result")) == 1
    assert "error" not in found[-1]


def test_a_whole_answer_keeps_its_calls_where_nothing_fits(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    weather = stub_server(
        tools=["get_weather"], results={"get_weather": {"content": [{"type": "text", "text": SUNNY}]}}
    )
    path = config(tmp_path, weather={**weather, "prefix": ""})
    host = wait_for_tools(start_host(mcp_config=path, slots=1, context_length=128))
    answer: dict[str, Any] = chat(host, QUESTION, temperature=0)
    assert answer["modelhost.finish_details"]["type"] == "context_limit"
    assert answer["modelhost.tool_calls"][0]["text"] == SUNNY


COUNTS = {"filesystem": 14, "everything": 13, "git": 12, "memory": 9, "search": 3, "time": 2}
"""Tools of each of six servers."""


def described_tools(server: str, count: int) -> list[dict[str, Any]]:
    """Definitions as servers in use have them: a description, and some described arguments."""
    text = {"type": "string", "description": "Absolute or relative path; it must be in one of the allowed directories."}
    number = {"type": "integer", "minimum": 0, "description": "How many at most; everything where it is left out."}
    schema = {"type": "object", "properties": {"path": text, "limit": number}, "required": ["path"]}
    return [
        {
            "name": f"{server}_operation_{number}",
            "description": f"Does operation {number} of {server} and returns its result as text. " * 2,
            "inputSchema": schema,
        }
        for number in range(count)
    ]


def test_with_53_tools_of_six_servers_those_to_leave_out_are_named_and_it_works_without_them(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    servers = {name: stub_server(tools=[], listed=described_tools(name, count)) for name, count in COUNTS.items()}
    host = wait_for_tools(start_host(mcp_config=config(tmp_path, **servers), slots=1, context_length=2048))
    body = {"messages": [{"role": "user", "content": "Hello!"}], "temperature": 0, "max_tokens": 20}
    answer = host.http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
    assert error["message"].startswith("The tools are too long: the prompt has ")
    assert "the tools of 6 servers take " in error["message"]
    assert "Leave out filesystem (14 tools, about " in error["message"]
    left_out = error["details"]["leave_out"]
    assert left_out == list(COUNTS)[: len(left_out)]
    kept = [name for name in COUNTS if name not in left_out]
    assert kept
    assert f"[{', '.join(json.dumps(name) for name in sorted(kept))}]" in error["message"]
    assert host.http.post("/v1/chat/completions", json={**body, "mcp": {"servers": kept}}).status_code == 200


def test_tools_that_take_more_than_the_context_are_named(start_host: Callable[..., ServedHost], tmp_path: Path) -> None:
    servers = {"one": stub_server(numbered=60), "two": stub_server(numbered=60)}
    host = wait_for_tools(start_host(mcp_config=config(tmp_path, **servers), slots=1, context_length=512))
    body = {"messages": [{"role": "user", "content": "Hello!"}]}
    answer = host.http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
    assert "the tools of 2 servers take " in error["message"]
    assert " of 512 tokens" in error["message"]
    assert "allowed_tools" in error["message"]
    with host.http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as stream:
        assert "the tools of 2 servers take " in stream.read().decode()

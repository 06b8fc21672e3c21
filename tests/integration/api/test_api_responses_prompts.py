"""Responses that continue others: the engine's prompt begins as the previous one did, so that it is computed once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2
import pytest
from gguf import GGUFReader

import modelhost
from bench.larger import ARCHITECTURE, Shape, write_larger
from bench.larger import SHAPE as LARGER
from modelhost.http.app import build_app
from tests.support.serving import ServedHost
from tests.support.tool_hosts import calls, config, stub_server

Json = dict[str, Any]
RESPONSES = "/v1/responses"
STUB: Json = {"type": "mcp", "server_label": "stub"}
WEATHER: Json = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
SCRIPT = [
    calls("both words", ("stub_echo", {"text": "one"}), ("stub_echo", {"text": "two"}), reply="Both.", reasoning="Hm."),
    calls("mixed tools", ("stub_echo", {"text": "one"}), ("weather", {"city": "Rome"}), reply="Mixed."),
    {"match": "think first", "reasoning": "Let me see.", "reply": "Four."},
]


class Talk:
    """A client of a host in this process, of which it sees what the engine gets."""

    def __init__(self, host: modelhost.Host, http: httpx2.AsyncClient) -> None:
        self._host = host
        self._http = http

    async def create(self, given: Any, *tools: Json, **fields: Any) -> Json:
        asked = {"tools": list(tools)} if tools else {}
        answer = await self._http.post(RESPONSES, json={"input": given, **asked, **fields})
        found: Json = answer.json()
        assert answer.status_code == 200, found
        return found

    async def refusal(self, given: Any, **fields: Any) -> Json:
        answer = await self._http.post(RESPONSES, json={"input": given, **fields})
        assert answer.status_code == 400
        found: Json = answer.json()["error"]
        return found

    async def prompt(self) -> list[Json]:
        """The messages that the engine got last."""
        worker = self._host.models[0].worker
        assert worker is not None
        state: Json = await worker.fetch("/scripted/state")
        messages: list[Json] = state["last_body"]["messages"]
        return messages


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT), "utf-8")
    settings: Json = {
        "engine": "scripted",
        "engine_options": {"script": str(tmp_path / "script.json")},
        "mcp_config": config(tmp_path, stub=stub_server(tools=["echo"])),
        "wait_for_tools": True,
        "data_dir": str(tmp_path / "data"),
        "threads": 1,
    }
    async with modelhost.Host(**settings) as host:
        transport = httpx2.ASGITransport(build_app(host))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield Talk(host, http)


@pytest.mark.parametrize(
    "said",
    ["both words", '/turns 3 /call stub_echo {"text": "{turn}"}', "think first"],
    ids=["parallel", "turns", "none"],
)
@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_prompt_begins_as_the_last_one_of_the_response_before(talk: Talk, said: str, is_stored: bool) -> None:
    asked = [{"role": "user", "content": said}]
    first = await talk.create(asked, STUB, store=is_stored)
    before = await talk.prompt()
    more = {"role": "user", "content": "/echo so"}
    if is_stored:
        await talk.create([more], STUB, previous_response_id=first["id"])
    else:
        await talk.create([*asked, *first["output"], more], STUB, store=False)
    after = await talk.prompt()
    assert after[: len(before)] == before
    assert [message["role"] for message in after[len(before) :]] == ["assistant", "user"]


async def test_calls_of_the_client_and_of_the_host_come_back_as_they_were(talk: Talk) -> None:
    first = await talk.create("mixed tools", STUB, WEATHER)
    call = first["output"][-1]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    await talk.create([result], STUB, WEATHER, previous_response_id=first["id"])
    assert [message["role"] for message in await talk.prompt()] == ["user", "assistant", "tool", "assistant", "tool"]


async def test_an_approved_call_belongs_to_the_turn_that_wanted_it(talk: Talk) -> None:
    server = {**STUB, "require_approval": "always"}
    first = await talk.create("both words", server)
    requests = [item for item in first["output"] if item["type"] == "mcp_approval_request"]
    assert len(requests) == 2
    decisions = [
        {"type": "mcp_approval_response", "approval_request_id": each["id"], "approve": True} for each in requests
    ]
    second = await talk.create(decisions, server, previous_response_id=first["id"])
    before = await talk.prompt()
    assert [message["role"] for message in before] == ["user", "assistant", "tool", "tool"]
    await talk.create("/echo so", server, previous_response_id=second["id"])
    after = await talk.prompt()
    assert after[: len(before)] == before


# Sealed reasoning.


async def test_sealed_reasoning_goes_on_without_a_store(talk: Talk) -> None:
    asked = [{"role": "user", "content": "think first"}]
    sealed = {"include": ["reasoning.encrypted_content"], "store": False}
    first = await talk.create(asked, **sealed)
    (reasoning, message) = first["output"]
    assert "Let me see." not in reasoning["encrypted_content"]
    bare = {
        "type": "reasoning",
        "id": reasoning["id"],
        "summary": [],
        "encrypted_content": reasoning["encrypted_content"],
    }
    await talk.create([*asked, bare, message, {"role": "user", "content": "/echo so"}], **sealed)
    assert (await talk.prompt())[1]["reasoning_content"] == "Let me see."


async def test_reasoning_that_was_changed_is_refused(talk: Talk) -> None:
    for sealed in ("nothing of this host", "mh1." + "A" * 80):
        item = {"type": "reasoning", "summary": [], "encrypted_content": sealed}
        refused = await talk.refusal([{"role": "user", "content": "Hi"}, item], store=False)
        assert refused["code"] == "invalid_encrypted_content"


# With an engine.

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
SMALL = Shape(layers=2, width=192, feed_forward=384, heads=3)
SHAPE = LARGER if os.environ.get("LARGER_MODEL") else SMALL
"""``LARGER_MODEL=1``: the 120 million weights of the benchmarks, with which this takes minutes."""
CONTEXT = 8192
TURNS = 5
REUSED = 0.9
"""The part of the prompt that every turn after the first finds computed."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with a model of random weights, which takes a second for thousands of tokens."""
    path = write_larger(NANO, tmp_path_factory.mktemp("larger") / "agent.gguf", shape=SHAPE)
    GGUFReader(path, "r+").fields[f"{ARCHITECTURE}.context_length"].parts[-1][0] = CONTEXT
    with ServedHost(model=str(path), context_length=CONTEXT, slots=2, threads=2) as host:
        yield host


@pytest.mark.parametrize("way", ["previous_response_id", "conversation"])
def test_each_turn_computes_only_what_is_new(agent: ServedHost, way: str) -> None:
    instructions = f"For {way}: " + "read a file before you edit it, and run the tests after each change. " * 80
    link: Json = {}
    if way == "conversation":
        link = {way: agent.http.post("/v1/conversations", json={}).json()["id"]}
    parts = []
    for turn in range(TURNS):
        body = {
            "input": f"Now fix test {turn}.",
            "instructions": instructions,
            "max_output_tokens": 20,
            "temperature": 0,
        }
        found = agent.http.post(RESPONSES, json={**body, **link}).json()
        usage = found["usage"]
        cached, whole = usage["input_tokens_details"]["cached_tokens"], usage["input_tokens"]
        sys.stdout.write(f"{way}, turn {turn + 1}: {cached} of {whole} tokens\n")
        parts.append(cached / whole)
        if way != "conversation":
            link = {way: found["id"]}
    assert min(parts[1:]) >= REUSED

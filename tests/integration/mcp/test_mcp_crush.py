"""Crush's ways with the host: its example configuration, its MCP servers over both transports, its streaming."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.support.crush import Turn, crush, streamed
from tests.support.mcp_stdio import environment
from tests.support.serving import ServedHost

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "crush.json"
ADDRESS: Final = "http://127.0.0.1:8000"
SCRIPT: Final = [
    {"match": "title", "reply": "A title"},
    {
        "match": "load it",
        "reply": "It is loaded.",
        "tool_calls": [{"name": "mcp_vllm-model-manager_load-model", "arguments": {"model_id": "modelhost-nano"}}],
    },
]
MANAGER: Final = "mcp_vllm-model-manager"
STATE: Final = "mcp_vllm-state-persistence"
MONITOR: Final = "mcp_vllm-performance-monitor"
THREE: Final = {
    "vllm-model-manager": "models",
    "vllm-state-persistence": "state",
    "vllm-performance-monitor": "monitor",
}
"""The servers of the document, by their names in the example."""
CHAT: Final = "mcp_modelhost-llm_chat_completion"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    folder = tmp_path_factory.mktemp("crush")
    (folder / "script.json").write_text(json.dumps(SCRIPT), "utf-8")
    with ServedHost(
        engine="scripted",
        alias=["modelhost-nano"],
        engine_options={"script": str(folder / "script.json")},
        data_dir=str(folder / "data"),
    ) as started:
        yield started


@pytest.fixture
def configuration(host: ServedHost) -> dict[str, Any]:
    """The example, with the address of this test's host for the default one."""
    text = EXAMPLE.read_text("utf-8")
    assert ADDRESS in text
    found: dict[str, Any] = json.loads(text.replace(ADDRESS, host.url))
    return found


@pytest.fixture
def variables() -> dict[str, str]:
    """The environment of its stdio servers: the command `modelhost` is that of this environment."""
    return environment(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def over_stdio(configuration: dict[str, Any], url: str) -> dict[str, Any]:
    """The same servers, each as a command."""
    servers = copy.deepcopy(configuration["mcp"])
    for name, face in THREE.items():
        servers[name] = {"type": "stdio", "command": "modelhost", "args": ["mcp", face, "--url", url], "timeout": 10}
    return dict(servers)


@pytest.mark.promise(
    "vllm-crush.models.server",
    "vllm-crush.monitor.server",
    "vllm-crush.crush.tools",
    "vllm-crush.crush.state",
    "vllm-crush.crush.metrics",
    "vllm-crush.health.crush",
)
@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_its_servers_connect_and_every_call_has_its_ping(
    transport: str, host: ServedHost, configuration: dict[str, Any], variables: dict[str, str]
) -> None:
    servers = configuration["mcp"] if transport == "http" else over_stdio(configuration, host.url)
    async with crush(servers, variables) as client:
        assert {f"{MANAGER}_load-model", f"{STATE}_save-state", f"{MONITOR}_get-metrics", CHAT} <= set(client.tools)
        listed = await client.call(f"{MANAGER}_list-models", {})
        assert listed.structured_content["models"][0]["id"] == "modelhost-nano"
        said = await client.call(
            CHAT,
            {"messages": [{"role": "user", "content": "My name is Alice"}], "session_id": f"crush-{transport}"},
        )
        assert said.structured_content["session_id"] == f"crush-{transport}"
        saved = await client.call(f"{STATE}_save-state", {"session_id": f"crush-{transport}"})
        assert saved.structured_content["success"] is True
        loaded = await client.call(f"{STATE}_load-state", {"session_id": f"crush-{transport}"})
        assert loaded.structured_content["restored"]["conversations"] >= 1
        measured = await client.call(f"{MONITOR}_get-metrics", {"duration_seconds": 300})
        assert measured.structured_content["metrics"]["requests"]["total"] >= 1
        unknown = await client.call(f"{MANAGER}_load-model", {"model_id": "none"})
        assert (unknown.is_error, unknown.structured_content["error"]["code"]) == (True, "MODEL_NOT_FOUND")


@pytest.mark.promise("vllm-crush.crush.provider")
async def test_a_turn_with_a_call_streams_beside_the_request_for_the_title(
    configuration: dict[str, Any], variables: dict[str, str]
) -> None:
    provider, chosen = configuration["providers"]["modelhost"], configuration["models"]
    servers = {name: server for name, server in configuration["mcp"].items() if server["type"] == "http"}

    async def ask(messages: list[Any], tools: list[Any], size: str = "large") -> Turn:
        return await streamed(provider, chosen[size]["model"], messages, tools)

    async with crush(servers, variables) as client:
        messages: list[Any] = [{"role": "user", "content": "Please load it."}]
        title, turn = await asyncio.gather(
            ask([{"role": "user", "content": "A title for: Please load it."}], [], "small"),
            ask(messages, client.schemas),
        )
        assert title.text == "A title"
        assert title.usage is not None
        assert turn.finish_reason == "tool_calls"
        assert turn.usage is not None
        (call,) = turn.calls.values()
        result = await client.call(call["name"], json.loads(call["arguments"]))
        assert result.structured_content["success"] is True
        function = {"name": call["name"], "arguments": call["arguments"]}
        messages += [
            {"role": "assistant", "tool_calls": [{"id": call["id"], "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": call["id"], "content": result.content[0].text},
        ]
        assert (await ask(messages, client.schemas)).text == "It is loaded."


@pytest.mark.promise("vllm-crush.crush.provider")
def test_the_models_of_the_example_are_those_that_the_host_lists(configuration: dict[str, Any]) -> None:
    provider = configuration["providers"]["modelhost"]
    headers = {"Authorization": f"Bearer {provider['api_key']}"}
    answer = httpx2.get(f"{provider['base_url']}/models", headers=headers, trust_env=False)
    assert [model["id"] for model in provider["models"]] == [card["id"] for card in answer.json()["data"]]


def test_the_context_of_the_example_is_that_of_the_bundled_model(nano_host: ServedHost) -> None:
    (example,) = json.loads(EXAMPLE.read_text("utf-8"))["providers"]["modelhost"]["models"]
    (card,) = nano_host.http.get("/v1/models").json()["data"]
    assert (example["id"], example["context_window"]) == (card["id"], card["context_window"])

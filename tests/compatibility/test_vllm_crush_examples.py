"""The examples of the protocol for Crush: the arguments of tools, the shapes of their results, its command lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.compatibility.examples import commands_of, json_of, lacks, variables
from tests.support.crush import Crush, crush
from tests.support.serving import ServedHost

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
SERVERS = {
    "vllm-model-manager": "/mcp/models",
    "vllm-state-persistence": "/mcp/state",
    "vllm-performance-monitor": "/mcp/monitor",
}
MANAGER = "mcp_vllm-model-manager"
STATE = "mcp_vllm-state-persistence"
MONITOR = "mcp_vllm-performance-monitor"
# In the order in which they follow each other. `load-state` gets the id that `save-state` gave.
TOOLS = (
    f"{MANAGER}_list-models",
    f"{MANAGER}_get-model-info",
    f"{MANAGER}_set-model-config",
    f"{MANAGER}_unload-model",
    f"{MANAGER}_load-model",
    f"{STATE}_save-state",
    f"{STATE}_load-state",
    f"{STATE}_clear-state",
    f"{MONITOR}_get-metrics",
    f"{MONITOR}_get-memory-stats",
    f"{MONITOR}_get-gpu-stats",
)
WITHOUT_PARAMETERS = {"list-models", "get-memory-stats"}
# What the model of the tests cannot have.
TOO_MUCH = {"max_model_len"}


@pytest.fixture(scope="module")
def host() -> Iterator[ServedHost]:
    """A host whose model has the name of the document's."""
    with ServedHost(alias=[MODEL]) as started:
        yield started


def connected(host: ServedHost) -> AbstractAsyncContextManager[Crush]:
    """Crush with the three servers, over HTTP."""
    return crush({name: {"type": "http", "url": f"{host.url}{path}"} for name, path in SERVERS.items()}, variables())


def arguments_of(tool: str) -> dict[str, Any]:
    """The arguments of the document; of alternatives, such as ``none|awq|gptq``, the first."""
    if tool in WITHOUT_PARAMETERS:
        return {}
    if tool == "get-gpu-stats":
        return {"include_temperature": True, "include_power": True}  # the machine of a test need not have GPU 0 and 1
    found: dict[str, Any] = json_of(f"vllm-crush/{tool}.parameters.json")
    return {
        key: value.partition("|")[0] if isinstance(value, str) else value
        for key, value in found.items()
        if key not in TOO_MUCH
    }


@pytest.mark.promise(
    "vllm-crush.list-models",
    "vllm-crush.load-model",
    "vllm-crush.unload-model",
    "vllm-crush.get-model-info",
    "vllm-crush.get-model-info.config",
    "vllm-crush.get-model-info.capabilities",
    "vllm-crush.set-model-config",
    "vllm-crush.save-state.answer",
    "vllm-crush.load-state.answer",
    "vllm-crush.clear-state.answer",
    "vllm-crush.get-metrics",
    "vllm-crush.get-memory-stats",
    "vllm-crush.crush.metrics",
)
async def test_a_tool_takes_the_arguments_and_answers_in_the_shape_of_the_document(host: ServedHost) -> None:
    saved: dict[str, Any] = {}
    async with connected(host) as client:
        for name in TOOLS:
            tool = name.rpartition("_")[2]
            arguments = arguments_of(tool) | ({"state_id": saved["state_id"]} if tool == "load-state" else {})
            answer = await client.call(name, arguments)
            assert answer.is_error is False, answer.content
            assert lacks(answer.structured_content, json_of(f"vllm-crush/{tool}.result.json"), tool) == []
            assert json.loads(answer.content[0].text) == answer.structured_content
            if tool == "set-model-config":
                assert answer.structured_content["updated_config"] == arguments["config"]
            if tool == "save-state":
                saved = answer.structured_content


@pytest.mark.parametrize(
    ("server", "resource"),
    [
        pytest.param(
            "vllm-model-manager", f"model/{MODEL}/config", marks=pytest.mark.promise("vllm-crush.resources.config")
        ),
        pytest.param(
            "vllm-model-manager", f"model/{MODEL}/logs", marks=pytest.mark.promise("vllm-crush.resources.logs")
        ),
        pytest.param(
            "vllm-state-persistence", "state/sessions", marks=pytest.mark.promise("vllm-crush.resources.sessions")
        ),
        pytest.param(
            "vllm-state-persistence",
            "state/session/crush-session-123/summary",
            marks=pytest.mark.promise("vllm-crush.resources.summary"),
        ),
        pytest.param(
            "vllm-performance-monitor", "metrics/current", marks=pytest.mark.promise("vllm-crush.resources.metrics")
        ),
        pytest.param(
            "vllm-performance-monitor", "metrics/history/300", marks=pytest.mark.promise("vllm-crush.resources.history")
        ),
        pytest.param(
            "vllm-performance-monitor", "alerts/active", marks=pytest.mark.promise("vllm-crush.resources.alerts")
        ),
    ],
)
async def test_a_resource_is_read_by_the_name_of_the_document(server: str, resource: str, host: ServedHost) -> None:
    async with connected(host) as client:
        await client.call(f"{STATE}_save-state", {"session_id": "crush-session-123"})
        (contents,) = (await client.clients[server].read_resource(resource)).contents
        assert json.loads(contents.text)  # type: ignore[union-attr]


@pytest.mark.promise("vllm-crush.errors")
async def test_an_error_has_the_shape_of_the_document(host: ServedHost) -> None:
    shape = json_of("vllm-crush/error.json")
    shape["error"]["details"] = {"suggestion": ""}  # the other details are those of a want of memory
    async with connected(host) as client:
        answer = await client.call(f"{MANAGER}_get-model-info", {"model_id": "none"})
    assert answer.is_error is True
    assert lacks(answer.structured_content, shape) == []


def call_of(words: list[str]) -> tuple[str, dict[str, str]]:
    """The call that ``crush --tool NAME --session-id X`` makes: options are parameters, and their values texts."""
    program, option, tool, *options = words
    assert (program, option) == ("crush", "--tool")
    names = [name.removeprefix("--").replace("-", "_") for name in options[::2]]
    return tool, dict(zip(names, options[1::2], strict=True))


@pytest.mark.promise("vllm-crush.crush.load", "vllm-crush.crush.save", "vllm-crush.crush.get-metrics")
async def test_a_command_line_of_crush_is_a_call(host: ServedHost) -> None:
    load, metrics, save = (call_of(words) for words in commands_of("vllm-crush/crush.sh"))
    assert save == (f"{STATE}_save-state", {"session_id": "current", "include_models": "true"})
    assert load == (f"{MANAGER}_load-model", {"model_id": MODEL, "tensor_parallel_size": "2"})
    assert metrics == (f"{MONITOR}_get-metrics", {"duration_seconds": "300"})
    async with connected(host) as client:
        loaded = await client.call(load[0], {**load[1], "tensor_parallel_size": "1"})
        assert loaded.structured_content["success"] is True
        refused = await client.call(*load)
        assert refused.structured_content["error"]["details"]["param"] == "tensor_parallel_size"
        shown = await client.call(*metrics)
        assert shown.structured_content["duration_seconds"] == 300
        assert shown.structured_content["metrics"]["loads"]["count"] >= 1
        saved = await client.call(*save)
        assert saved.structured_content["session_id"] == "current"

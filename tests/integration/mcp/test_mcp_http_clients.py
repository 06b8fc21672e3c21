"""The MCP servers of a running host over HTTP, with the clients that people have, and the bundled model."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from jsonschema import Draft202012Validator
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost

from tests.support.registries import scripted, write_registry
from tests.support.serving import ServedHost

FACES = {
    "/mcp": 14,
    "/mcp/llm": 2,
    "/mcp/models": 6,
    "/mcp/state": 3,
    "/mcp/monitor": 3,
}
LONG = {"messages": [{"role": "user", "content": "/slow 20 /tokens 400 go"}]}


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> Any:
    """How a client connects: with a handshake, or as the newest."""
    return request.param


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


@pytest.mark.promise("mistralrs.api.mcp")
@pytest.mark.parametrize("path", FACES)
async def test_each_face_shows_its_tools(nano_host: ServedHost, path: str, era: Any) -> None:
    for address in (path, f"{path}/"):
        async with Client(f"{nano_host.url}{address}", mode=era) as client:
            assert len((await client.list_tools()).tools) == FACES[path]


@pytest.mark.promise("vllm-mcp.chat.session-id")
async def test_conversation_of_two_turns_is_remembered(nano_host: ServedHost, era: Any) -> None:
    async with Client(f"{nano_host.url}/mcp/llm", mode=era) as client:
        session = {"session_id": f"two turns {era}", "temperature": 0}
        first = await client.call_tool("chat_completion", said("My name is Alice.", **session))
        second = await client.call_tool("chat_completion", said("What is my name?", **session))
    assert not first.is_error
    assert "Alice" in second.structured_content["content"]
    assert second.content[0].text == second.structured_content["content"]  # type: ignore[union-attr]
    assert second.structured_content["usage"]["prompt_tokens"] > first.structured_content["usage"]["prompt_tokens"]
    stored = nano_host.http.get(f"/v1/sessions/{session['session_id']}").json()
    assert [message["role"] for message in stored["messages"]] == ["user", "assistant", "user", "assistant"]


@pytest.mark.promise("vllm-mcp.chat")
async def test_results_of_a_real_host_keep_to_their_schemas(nano_host: ServedHost, era: Any) -> None:
    async with Client(f"{nano_host.url}/mcp", mode=era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name, arguments in (
            ("chat_completion", said("Hello", max_tokens=8, seed=1, top_k=5, top_p=0.9)),
            ("model_info", {}),
            ("list-models", {}),
            ("get-model-info", {"model_id": "modelhost-nano"}),
            ("get-model-info", {"model_ids": ["modelhost-nano", "none"]}),
            ("load-model", {"model_id": "modelhost-nano"}),
            ("set-model-config", {"model_id": "modelhost-nano", "config": {"top_p": None}}),
            ("save-state", {"session_id": "a label", "include_metrics": True}),
            ("load-state", {"session_id": "a label"}),
            ("clear-state", {"session_id": "a label", "include_models": True}),
        ):
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result.content
            Draft202012Validator(tools[name].output_schema or False).validate(result.structured_content)


@pytest.mark.promise("vllm-mcp.variables.gpu-memory", "vllm-mcp.variables.sessions", "vllm-mcp.variables.messages")
async def test_model_info_says_what_the_seed_says(nano_host: ServedHost) -> None:
    async with Client(f"{nano_host.url}/mcp/llm") as client:
        info = (await client.call_tool("model_info", {})).structured_content
    assert info == nano_host.http.get("/v1/llm/info").json()
    assert info["model_name"] == "modelhost-nano"
    assert info["server_state"] == "ready"
    assert (info["tensor_parallel_size"], info["gpu_memory_utilization"]) == ("1", "0.9")
    assert (info["max_sessions"], info["max_session_messages"]) == (100, 50)
    assert (info["default_temperature"], info["default_max_tokens"]) == (0.7, 512)


async def test_resources_are_listed_and_read(nano_host: ServedHost, era: Any) -> None:
    async with Client(f"{nano_host.url}/mcp", mode=era) as client:
        uris = [str(one.uri) for one in (await client.list_resources()).resources]
        models = ["model://modelhost-nano/config", "model://modelhost-nano/logs"]
        assert uris == [*models, "state://sessions", "metrics://current", "alerts://active"]
        for uri in (*uris, "model/modelhost-nano/logs"):
            (contents,) = (await client.read_resource(uri)).contents
            assert json.loads(contents.text)  # type: ignore[union-attr]
        with pytest.raises(MCPError, match="There is no model"):
            await client.read_resource("model://none/config")
        assert len((await client.list_resource_templates()).resource_templates) == 11


@pytest.mark.promise("vllm-crush.resources.metrics")
@pytest.mark.filterwarnings("ignore:.*subscribe is removed")
async def test_clients_are_notified_of_new_figures_and_a_host_can_stop_meanwhile(
    start_host: Callable[..., ServedHost],
) -> None:
    host, updated = start_host(engine="scripted"), asyncio.Event()

    async def note(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            updated.set()

    url = f"{host.url}/mcp/monitor"
    async with Client(url, mode="legacy", message_handler=note) as old, Client(url, mode="auto") as new:
        await old.subscribe_resource("metrics/current")
        async with new.listen(resource_subscriptions=["metrics/current"]) as listening:
            await asyncio.to_thread(host.http.post, "/tokenize", json={"content": "hello"})
            async with asyncio.timeout(30):
                await updated.wait()
                event: Any = await anext(aiter(listening))
            assert event.uri == "metrics/current"
            host.send_signal(signal.SIGTERM)
            with pytest.raises(SubscriptionLost):
                async for _ in listening:
                    pass
    await asyncio.to_thread(host.wait)


@pytest.mark.promise("vllm-mcp.errors.engine")
async def test_errors_have_the_shape_of_the_seed(nano_host: ServedHost, era: Any) -> None:
    async with Client(f"{nano_host.url}/mcp", mode=era) as client:
        await client.list_tools()
        for name, arguments, code in (
            ("chat_completion", said("Hello", model="none"), "MODEL_NOT_FOUND"),
            ("chat_completion", said("Hello", temperature=101), "INVALID_REQUEST"),
            ("chat_completion", said("word " * 4000), "CONTEXT_LENGTH_EXCEEDED"),
            ("load-state", {"session_id": "never saved"}, "STATE_NOT_FOUND"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            error = result.structured_content["error"]
            assert result.structured_content["success"] is False
            assert error["code"] == code
            assert error["details"]["suggestion"]


async def test_a_call_that_waits_for_its_model_says_so(start_host: Callable[..., ServedHost], tmp_path: Path) -> None:
    ant = scripted("ant", options={"load_seconds": 1.0, "load_progress": 4})
    host = start_host(models_config=write_registry(tmp_path / "models.yaml", ant))
    told: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, _total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async with Client(f"{host.url}/mcp") as client:
        arguments = {**said("/echo one two"), "model": "ant"}
        result = await client.call_tool("chat_completion", arguments, progress_callback=on_progress)
    assert result.structured_content["content"] == "one two"
    assert "".join(message or "" for _, message in told) == "one two"
    assert len([progress for progress, message in told if message is None and progress < 1]) >= 3
    assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})


async def test_cancelled_call_frees_its_slot(start_host: Callable[..., ServedHost], era: Any) -> None:
    host = start_host(engine="scripted", slots=1)
    async with Client(f"{host.url}/mcp", mode=era) as client:
        call = asyncio.create_task(client.call_tool("chat_completion", LONG))
        await asyncio.to_thread(host.wait_for_metric, "modelhost_slots_in_use", 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(host.wait_for_metric, "modelhost_slots_in_use", 0)
        assert not (await client.call_tool("chat_completion", said("/echo again"))).is_error
    host.wait_for_metric("modelhost_mcp_calls_total", 1, tool="chat_completion", outcome="cancelled")


async def test_calls_of_one_session_work_side_by_side(scripted_host: ServedHost, era: Any) -> None:
    async with Client(f"{scripted_host.url}/mcp", mode=era) as client:
        async with asyncio.timeout(60):
            results = await asyncio.gather(
                *(client.call_tool("chat_completion", said(f"/delay 1 /echo {number}")) for number in range(32))
            )
    assert [result.structured_content["content"] for result in results] == [str(number) for number in range(32)]


@pytest.mark.promise("vllm-crush.security.audit")
async def test_calls_stand_in_the_audit_log_without_what_was_said(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", api_keys=["ann=secret-key"])
    async with client_with_key(host, "secret-key") as client:
        injected = {"headers": {"Authorization": "Bearer secret-key"}}
        await client.call_tool("chat_completion", {**said("/echo private", session_id="s"), **injected})
        await client.call_tool("unload-model", {"model_id": "none"})
    entries = host.http.get("/v1/audit", headers={"Authorization": "Bearer secret-key"}).json()["entries"]
    unload, chat = (entry for entry in entries if entry["face"] == "mcp-http")
    assert (chat["operation"], chat["actor"], chat["outcome"]) == ("chat_completion", "ann", "ok")
    assert chat["arguments"] == {"session_id": "s"}
    assert (unload["operation"], unload["outcome"]) == ("unload-model", "model_not_found")
    assert "secret-key" not in json.dumps(entries)
    assert "private" not in json.dumps(entries) + host.stderr


@asynccontextmanager
async def client_with_key(host: ServedHost, key: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, trust_env=False) as http,
        Client(streamable_http_client(f"{host.url}/mcp", http_client=http)) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def guarded_host() -> Iterator[ServedHost]:
    with ServedHost(engine="scripted", api_keys=["a-key"]) as host:
        yield host


@pytest.mark.promise("vllm-crush.security.keys")
async def test_key_opens_the_door(guarded_host: ServedHost) -> None:
    async with client_with_key(guarded_host, "a-key") as client:
        assert (await client.list_tools()).tools


@pytest.mark.promise("vllm-crush.security.keys")
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_a_key_there_is_nothing(guarded_host: ServedHost, method: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = httpx2.request(method, f"{guarded_host.url}/mcp/llm", headers=headers, trust_env=False)
        assert answer.status_code == 401

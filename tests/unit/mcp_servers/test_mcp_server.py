"""The servers as clients of the SDK see them, in both eras, over a stand-in for the host."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, TextContent

from modelhost.errors import DatabaseUnavailable, InsufficientMemory, InvalidRequest, ModelNotFound, StateNotFound
from modelhost.mcp_servers.chat_tool import ChatDefaults
from modelhost.mcp_servers.faces import FaceName
from modelhost.mcp_servers.server import build_server
from modelhost.operations.operation import Progress
from tests.support.mcp_backend import FakeBackend, piece

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> Any:
    """How a client connects: with a handshake, or as the newest."""
    return request.param


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


def connected(backend: FakeBackend, era: Any, face: FaceName = "all", defaults: ChatDefaults | None = None) -> Client:
    return Client(build_server(face, backend, defaults), mode=era)


def texts(result: Any) -> list[str]:
    assert all(isinstance(content, TextContent) for content in result.content)
    return [content.text for content in result.content]


async def test_server_says_who_it_is(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era, "llm") as client:
        assert client.server_info.name == "modelhost-llm"
        assert client.instructions
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed
        assert client.server_capabilities.prompts is None
    async with connected(backend, era) as client:
        assert client.server_info.name == "modelhost"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("list-models", {}),
        ("load-model", {"model_id": "qwen"}),
        ("unload-model", {"model_id": "qwen"}),
        ("get-model-info", {"model_id": "qwen"}),
        ("set-model-config", {"model_id": "qwen", "config": {"temperature": 0.5}}),
        ("pull-model", {"model": "Qwen/Qwen3-4B-GGUF"}),
        ("model_info", {}),
        ("save-state", {"session_id": "s"}),
        ("load-state", {"session_id": "s"}),
        ("clear-state", {"session_id": "s"}),
        ("chat_completion", HELLO),
    ],
)
async def test_results_keep_to_their_schema_and_come_as_text_too(
    backend: FakeBackend, era: Any, name: str, arguments: dict[str, Any]
) -> None:
    async with connected(backend, era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        result = await client.call_tool(name, arguments)
    assert not result.is_error
    Draft202012Validator(tools[name].output_schema or False).validate(result.structured_content)
    assert json.loads(texts(result)[-1]) == result.structured_content


async def test_first_text_of_a_chat_is_the_plain_answer(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        assert texts(await client.call_tool("chat_completion", HELLO))[0] == "Hello."


async def test_arguments_of_who_stands_between_are_ignored_and_not_kept(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        injected = {"headers": {"Authorization": "Bearer secret"}, "unknown": 1}
        assert not (await client.call_tool("get-model-info", {"model_id": "qwen", **injected})).is_error
        assert not (await client.call_tool("chat_completion", {**HELLO, "model": "one", **injected})).is_error
    assert [dict(call.kept(call.values)) for call in backend.calls] == [{"model_id": "qwen"}, {"model": "one"}]


async def test_arguments_that_are_json_text_are_read(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        loaded = await client.call_tool("load-model", {"model_ids": '["a", "b"]', "wait": "true"})
        assert not loaded.is_error
        configured = await client.call_tool("set-model-config", {"model_id": "a", "config": '{"temperature": 0.5}'})
        assert not configured.is_error
        saved = await client.call_tool("save-state", {"session_id": "5", "include_models": "false"})
        assert not saved.is_error
    ran = [parameters.model_dump(exclude_unset=True) for name, parameters in backend.ran if name != "list-models"]
    assert ran == [
        {"model_id": "a", "wait": True},
        {"model_id": "b", "wait": True},
        {"model_id": "a", "config": {"temperature": 0.5}},
        {"session_id": "5", "include_models": False},
    ]


@pytest.mark.parametrize("name", ["pull-model", "load-model"])
async def test_downloads_are_told_in_notifications_of_which_each_is_further(
    backend: FakeBackend, era: Any, name: str
) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    backend.progress = [
        Progress(fraction=share, message=f"downloading {file}")
        for share, file in ((0.0, "a"), (0.25, "a"), (0.25, "b"), (0.2, "b"), (1.0, "b"))
    ]
    async with connected(backend, era) as client:
        result = await client.call_tool(name, {"model_id": "org/name"}, progress_callback=note)
    assert not result.is_error
    assert told == [(0.25, 1.0, "downloading a"), (1.0, 1.0, "downloading b")]


async def test_downloads_of_several_models_are_told_as_one(backend: FakeBackend, era: Any) -> None:
    told: list[float] = []

    async def note(progress: float, _total: float | None, _message: str | None) -> None:
        told.append(progress)

    backend.progress = [Progress(fraction=share, message="downloading") for share in (0.5, 1.0)]
    async with connected(backend, era) as client:
        await client.call_tool("load-model", {"model_ids": ["org/a", "org/b"]}, progress_callback=note)
    assert told == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.promise("vllm-mcp.errors.engine", "vllm-crush.errors")
async def test_error_is_a_result_in_the_shape_of_all_tools(backend: FakeBackend, era: Any) -> None:
    backend.results["load-model"] = ModelNotFound('There is no model "x".', param="model_id")
    async with connected(backend, era) as client:
        await client.list_tools()  # from now on the client holds results to the schemas
        result = await client.call_tool("load-model", {"model_id": "x"})
    assert result.is_error
    assert result.structured_content["error"]["code"] == "MODEL_NOT_FOUND"
    assert result.structured_content["error"]["details"]["suggestion"] == (
        "Take a name from `list-models` as `model_id`."
    )
    assert json.loads(texts(result)[0]) == result.structured_content


@pytest.mark.promise("vllm-mcp.chat.messages")
async def test_wrong_argument_is_an_error_of_the_tool(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        result = await client.call_tool("unload-model", {"model_id": "x", "force": "yes"})
    assert result.structured_content["error"]["code"] == "INVALID_REQUEST"
    assert result.structured_content["error"]["details"]["param"] == "force"


@pytest.mark.promise("vllm-mcp.errors.memory")
async def test_want_of_memory_names_the_values_in_force(backend: FakeBackend, era: Any) -> None:
    backend.chunks = [InsufficientMemory("It does not fit.", need_mb={"ram": 9}, missing_mb={"ram": 2})]
    defaults = ChatDefaults(gpu_memory_utilization=0.8, max_model_len=4096)
    async with connected(backend, era, defaults=defaults) as client:
        result = await client.call_tool("chat_completion", {**HELLO, "max_tokens": 99})
    suggestion = result.structured_content["error"]["details"]["suggestion"]
    assert "VLLM_GPU_MEMORY_UTILIZATION (current: 0.8)" in suggestion
    assert "max_tokens (current: 99)" in suggestion
    assert "VLLM_MAX_MODEL_LEN (current: 4096)" in suggestion


async def test_tool_that_breaks_is_an_error_and_the_server_goes_on(backend: FakeBackend, era: Any) -> None:
    backend.results["get-memory-stats"] = ZeroDivisionError("secret")
    async with connected(backend, era) as client:
        result = await client.call_tool("get-memory-stats", {})
        assert result.structured_content["error"]["code"] == "INTERNAL_ERROR"
        assert "secret" not in texts(result)[0]
        assert not (await client.call_tool("model_info", {})).is_error
    assert [call.outcome for call in backend.calls] == ["internal_error", "ok"]


async def test_unknown_tool_is_an_error_of_the_protocol(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era, "llm") as client:
        with pytest.raises(MCPError, match="Available: chat_completion, model_info") as caught:
            await client.call_tool("load-model", {"model_id": "x"})
    assert caught.value.error.code == INVALID_PARAMS


@pytest.mark.promise("vllm-crush.batch.models")
async def test_several_models_at_once(backend: FakeBackend, era: Any) -> None:
    def unload(asked: Any) -> Any:
        if asked.model_id == "bad":
            return ModelNotFound("No such.")
        freed = {"memory_freed_mb": 1, "memory_freed_bytes": {"ram": 1}}
        return {"success": True, "model_id": asked.model_id, "status": "unloaded", **freed}

    backend.results["unload-model"] = unload
    async with connected(backend, era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        result = await client.call_tool("unload-model", {"model_ids": ["a", "bad", "a"], "force": True})
        both = await client.call_tool("unload-model", {"model_ids": ["a"], "model_id": "a"})
        none = await client.call_tool("unload-model", {"model_ids": []})
        neither = await client.call_tool("unload-model", {})
    Draft202012Validator(tools["unload-model"].output_schema or False).validate(result.structured_content)
    assert not result.is_error
    assert result.structured_content["success"] is False
    first, second = result.structured_content["results"]
    assert (first["model_id"], first["success"]) == ("a", True)
    assert (second["model_id"], second["error"]["code"]) == ("bad", "MODEL_NOT_FOUND")
    unloads = [parameters for name, parameters in backend.ran if name == "unload-model"]
    assert all(parameters.force for parameters in unloads)  # type: ignore[attr-defined]
    for refused in (both, none, neither):
        assert refused.structured_content["error"]["code"] == "INVALID_REQUEST"


@pytest.mark.promise("vllm-crush.batch.models")
async def test_several_models_get_the_same_defaults(backend: FakeBackend, era: Any) -> None:
    backend.results["set-model-config"] = lambda asked: {
        "success": True,
        "model_id": asked.model_id,
        "updated_config": asked.config.model_dump(exclude_unset=True),
    }
    async with connected(backend, era) as client:
        result = await client.call_tool("set-model-config", {"model_ids": ["a", "b"], "config": {"top_k": 5}})
        without_model = await client.call_tool("set-model-config", {"config": {"top_k": 5}})
    assert [one["model_id"] for one in result.structured_content["results"]] == ["a", "b"]
    assert [one["updated_config"] for one in result.structured_content["results"]] == [{"top_k": 5}] * 2
    assert without_model.structured_content["error"]["code"] == "INVALID_REQUEST"


async def test_models_of_the_servers_own_defaults_are_told_of(backend: FakeBackend, era: Any) -> None:
    defaults = ChatDefaults(model="two", temperature=0.2, max_tokens=9, gpu_memory_utilization=0.75)
    async with connected(backend, era, defaults=defaults) as client:
        shown = (await client.call_tool("model_info", {})).structured_content
    assert (shown["default_temperature"], shown["default_max_tokens"]) == (0.2, 9)
    assert (shown["gpu_memory_utilization"], shown["tensor_parallel_size"]) == ("0.75", "1")
    assert backend.ran[0][1].model == "two"  # type: ignore[attr-defined]


@pytest.mark.promise("vllm-crush.health.mcp")
@pytest.mark.filterwarnings("ignore:ping is removed")
async def test_ping_is_answered_in_both_eras(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        await client.send_ping()


@pytest.mark.promise("vllm-mcp.no-streaming")
async def test_text_comes_as_progress(backend: FakeBackend, era: Any) -> None:
    told: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, _total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async with connected(backend, era) as client:
        await client.call_tool("chat_completion", HELLO, progress_callback=on_progress)
    assert told == [(1, "Hel"), (2, "lo.")]


async def test_cancelled_call_leaves_the_generation(backend: FakeBackend, era: Any) -> None:
    backend.holds = True
    async with connected(backend, era) as client:
        call = asyncio.create_task(client.call_tool("chat_completion", HELLO))
        async with asyncio.timeout(5):
            await backend.was_asked.wait()
            call.cancel()
            await backend.was_left.wait()
        backend.holds = False
        assert not (await client.call_tool("chat_completion", HELLO)).is_error
    assert [call.outcome for call in backend.calls] == ["cancelled", "ok"]


@pytest.mark.promise("vllm-mcp.sequential")
async def test_many_calls_at_once_work_side_by_side(backend: FakeBackend, era: Any) -> None:
    backend.holds = True
    async with connected(backend, era) as client:
        calls = [asyncio.create_task(client.call_tool("chat_completion", HELLO)) for _ in range(32)]
        async with asyncio.timeout(10):
            while len(backend.bodies) < 32:
                backend.was_asked.clear()
                await backend.was_asked.wait()
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


async def test_depth_of_the_call_goes_on_to_the_host(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        await client.call_tool("chat_completion", HELLO, meta={"modelhost/depth": 3})  # type: ignore[typeddict-unknown-key]
        wrong = await client.call_tool("chat_completion", HELLO, meta={"modelhost/depth": "x"})  # type: ignore[typeddict-unknown-key]
    assert backend.depths == [3]
    assert wrong.structured_content["error"]["code"] == "INVALID_REQUEST"


@pytest.mark.promise("vllm-crush.resources.config", "vllm-crush.resources.logs")
async def test_resources_of_models(backend: FakeBackend, era: Any) -> None:
    card = {**backend_card(), "id": "org/mo del", "name": "org/mo del"}
    backend.results["list-models"] = {"models": [card]}
    async with connected(backend, era, "models") as client:
        listed = (await client.list_resources()).resources
        assert [str(one.uri) for one in listed] == ["model://org/mo%20del/config", "model://org/mo%20del/logs"]
        for uri in ("model://org/mo%20del/config", "model/org/mo%20del/config"):
            (contents,) = (await client.read_resource(uri)).contents
            assert contents.mime_type == "application/json"
            assert json.loads(contents.text)["model_id"] == "qwen"  # type: ignore[union-attr]
        templates = [one.uri_template for one in (await client.list_resource_templates()).resource_templates]
    asked = [parameters.model_id for name, parameters in backend.ran if name == "get-model-info"]  # type: ignore[attr-defined]
    assert asked == ["org/mo del", "org/mo del"]
    assert templates == [
        "model://{+model_id}/config",
        "model/{model_id}/config",
        "model://{+model_id}/logs",
        "model/{model_id}/logs",
    ]


@pytest.mark.promise("vllm-crush.resources.sessions", "vllm-crush.resources.summary")
async def test_resources_of_states(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era, "state") as client:
        assert [str(one.uri) for one in (await client.list_resources()).resources] == ["state://sessions"]
        templates = [one.uri_template for one in (await client.list_resource_templates()).resource_templates]
        for uri in ("state://sessions", "state/sessions"):
            assert "sessions" in json.loads((await client.read_resource(uri)).contents[0].text)  # type: ignore[union-attr]
        await client.read_resource("state://session/crush/1/summary")
    assert backend.ran[-1][1].session_id == "crush/1"  # type: ignore[attr-defined]
    assert templates == [
        "state/sessions",
        "state://session/{session_id}/summary",
        "state/session/{session_id}/summary",
    ]


@pytest.mark.promise(
    "vllm-crush.monitor.server",
    "vllm-crush.resources.metrics",
    "vllm-crush.resources.history",
    "vllm-crush.resources.alerts",
)
async def test_the_monitor_has_its_tools_and_resources(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era, "monitor") as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools == ["get-metrics", "get-gpu-stats", "get-memory-stats"]
        listed = [str(one.uri) for one in (await client.list_resources()).resources]
        assert listed == ["metrics://current", "alerts://active"]
        for uri in ("metrics://current", "metrics/current"):
            assert "throughput" in (await client.read_resource(uri)).contents[0].text  # type: ignore[union-attr]
        for uri in ("metrics://history/6h", "metrics/history/21600"):
            await client.read_resource(uri)
            assert backend.ran[-1][1].duration_seconds == 6 * 3600  # type: ignore[attr-defined]
        for uri in ("alerts://active", "alerts/active"):
            assert "alerts" in json.loads((await client.read_resource(uri)).contents[0].text)  # type: ignore[union-attr]
        with pytest.raises(MCPError, match="300, 15m"):
            await client.read_resource("metrics://history/soon")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StateNotFound("Nothing is saved."), INVALID_PARAMS),
        (InvalidRequest("No such duration."), INVALID_PARAMS),
        (DatabaseUnavailable("The disk is full."), INTERNAL_ERROR),
    ],
)
async def test_resource_that_cannot_be_read_says_why(
    backend: FakeBackend, era: Any, error: Exception, code: int
) -> None:
    backend.results["state-summary"] = error
    async with connected(backend, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource("state://session/x/summary")
        assert caught.value.error.code == code
        assert caught.value.error.data["uri"] == "state://session/x/summary"
        assert caught.value.error.data["details"]["suggestion"]
        with pytest.raises(MCPError, match="Resource not found") as caught:
            await client.read_resource("model://")
        assert caught.value.error.code == INVALID_PARAMS
    assert [call.outcome for call in backend.calls][-1] == "not_found"


@pytest.mark.promise("vllm-crush.logging.structured")
async def test_calls_are_noted_with_their_model(backend: FakeBackend, era: Any) -> None:
    backend.chunks = [piece("Hi", model="served")]
    async with connected(backend, era) as client:
        await client.call_tool("chat_completion", {**HELLO, "session_id": "s", "max_tokens": 5})
        await client.call_tool("load-model", {"model_ids": ["a", "b"]})
        await client.call_tool("save-state", {"session_id": "label", "compression": False})
    chat, load, save = backend.calls
    assert (chat.operation, chat.outcome, chat.named_model) == ("chat_completion", "ok", "served")
    assert chat.kept(chat.values) == {"session_id": "s", "max_tokens": 5}
    assert load.kept(load.values) == {"model_ids": ["a", "b"]}
    assert save.kept(save.values) == {"session_id": "label", "compression": False}
    assert chat.seconds >= 0
    assert (chat.caller.face, chat.caller.key_name) == ("mcp-stdio", "")


def backend_card() -> dict[str, Any]:
    """A model as lists show it."""
    return {
        "id": "qwen",
        "created": 0,
        "name": "qwen",
        "aliases": [],
        "engine": "llamacpp",
        "state": "ready",
        "status": "loaded",
        "context_length": None,
        "max_model_len": None,
        "context_window": None,
        "max_tokens": None,
        "memory_usage_mb": None,
        "memory_required_mb": None,
        "slots": None,
        "operations": [],
    }

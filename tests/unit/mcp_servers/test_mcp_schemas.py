"""The schemas of the tools: what clients and models are shown, and what results are held to."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from modelhost.mcp_servers import schemas
from modelhost.mcp_servers.chat_tool import ChatDefaults
from modelhost.mcp_servers.faces import FACES
from modelhost.mcp_servers.media_tools import GENERATE
from modelhost.mcp_servers.tools import OPERATIONS, SEVERAL, make_tools
from modelhost.operations import llm, model_loading, models
from modelhost.operations.operation import AnyOperation
from tests.support.mcp_backend import FakeBackend

RENDERED = [operation for operations in OPERATIONS.values() for operation in operations]


def tool_of(name: str) -> Any:
    return make_tools(FACES["all"].areas, FakeBackend(), ChatDefaults())[name].definition


@pytest.mark.parametrize(
    "name", [llm.CHAT, llm.SPEAK, llm.TRANSCRIBE, GENERATE, *(operation.name for operation in RENDERED)]
)
def test_schemas_are_sound_and_objects_at_the_top(name: str) -> None:
    tool = tool_of(name)
    for schema in (tool.input_schema, tool.output_schema):
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
    # Some of those who show tools to models refuse these.
    assert not {"anyOf", "oneOf", "allOf", "$ref"} & tool.input_schema.keys()


@pytest.mark.parametrize("operation", RENDERED, ids=lambda operation: operation.name)
def test_examples_keep_to_the_schemas(operation: AnyOperation) -> None:
    tool = tool_of(operation.name)
    Draft202012Validator(tool.input_schema).validate(dict(operation.example))
    answer = operation.result.model_validate(operation.example_answer).model_dump(mode="json", by_alias=True)
    Draft202012Validator(tool.output_schema).validate(answer)
    refused = {"success": False, "error": {"code": "C", "message": "m", "details": {"suggestion": "s"}}}
    Draft202012Validator(tool.output_schema).validate(refused)
    if operation.name in SEVERAL:
        failed = {"success": False, "model_id": "x", "error": {"code": "C", "message": "m", "details": {}}}
        Draft202012Validator(tool.output_schema).validate({"success": False, "results": [answer, failed]})


def test_output_that_is_none_of_both_is_not_sound() -> None:
    validator = Draft202012Validator(tool_of(model_loading.LOAD.name).output_schema)
    assert not validator.is_valid({"success": True})
    assert not validator.is_valid({"success": False, "error": {"code": "C"}})
    assert not validator.is_valid({"success": True, "results": [{"success": False}]})


@pytest.mark.promise("vllm-mcp.chat.messages")
def test_parameters_have_the_names_of_the_seed() -> None:
    load = tool_of("load-model").input_schema
    assert set(load["properties"]) == {
        "model_id",
        "model_ids",
        "wait",
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "gpu_memory_utilization",
        "max_model_len",
        "quantization",
        "dtype",
        "enforce_eager",
        "enable_prefix_caching",
        "persist",
        "force",
    }
    assert "required" not in load
    chat = tool_of("chat_completion").input_schema
    assert set(chat["properties"]) == {
        "messages",
        "session_id",
        "temperature",
        "max_tokens",
        "top_p",
        "top_k",
        "seed",
        "model",
    }
    assert chat["required"] == ["messages"]
    assert tool_of("set-model-config").input_schema["required"] == ["config"]


def test_every_name_of_a_parameter_is_known() -> None:
    assert schemas.parameter_names(models.INFO.parameters) == {"model_id", "model"}
    assert schemas.parameter_names(llm.ChatParameters) >= {"messages", "model", "model_id", "seed"}


def test_schemas_do_not_repeat_the_names_as_titles() -> None:
    schema = tool_of("chat_completion").input_schema
    assert "title" not in schema
    assert all("title" not in field for field in schema["properties"].values())


@pytest.mark.promise("vllm-crush.models.server", "vllm-crush.state.server")
def test_faces_show_their_areas_and_all_shows_everything() -> None:
    names = {name: set(make_tools(face.areas, FakeBackend(), ChatDefaults())) for name, face in FACES.items()}
    assert names["llm"] == {"chat_completion", "model_info", "speak", "transcribe", "generate_image"}
    models = {"list-models", "load-model", "unload-model", "get-model-info", "set-model-config", "pull-model"}
    assert names["models"] == models
    assert names["state"] == {"save-state", "load-state", "clear-state"}
    assert names["monitor"] == {"get-metrics", "get-gpu-stats", "get-memory-stats"}
    assert names["all"] == names["llm"] | names["models"] | names["state"] | names["monitor"]


@pytest.mark.promise("vllm-crush.security.access")
def test_hints_say_what_a_tool_does() -> None:
    def hints(name: str) -> tuple[Any, ...]:
        shown = tool_of(name).annotations
        return shown.read_only_hint, shown.destructive_hint, shown.idempotent_hint, shown.open_world_hint

    assert hints("list-models") == (True, False, True, False)
    assert hints("load-model") == hints("pull-model") == (False, False, True, True)
    assert hints("unload-model") == (False, True, True, False)
    assert hints("save-state") == (False, False, False, False)
    assert hints("clear-state") == (False, True, True, False)
    assert hints("chat_completion") == (False, False, False, True)
    assert hints("speak") == hints("transcribe") == hints("generate_image") == (True, False, True, False)


@pytest.mark.parametrize(
    "name", [llm.CHAT, llm.SPEAK, llm.TRANSCRIBE, GENERATE, *(operation.name for operation in RENDERED)]
)
def test_every_parameter_has_one_type_and_says_what_it_is(name: str) -> None:
    for field in tool_of(name).input_schema.get("properties", {}).values():
        assert isinstance(field["type"], str)
        assert field["description"]

"""Schemas of tools that are legal and unusual, and some that are none: one bad tool spoils nothing but itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelhost.tools.status import ToolProblemReport
from tests.support.mcp_peers import hub_of, stub
from tests.support.nano_engine import Engine, running
from tests.support.serving import ServedHost
from tests.support.tool_hosts import chat, config, servers_of, stub_server, wait_for_tools

A_TEXT = {"type": "string"}


def of(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, **more}


LEGAL: dict[str, dict[str, Any]] = {
    "true": of(True),
    "false": of(False),
    "optional": of({"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}, **{"$defs": {"A": of(A_TEXT)}}),
    "enum": of({"anyOf": [{"enum": ["x"]}, {"type": "null"}]}),
    "const": of({"anyOf": [{"const": "x"}]}),
    "types": of({"anyOf": [{"type": ["string", "null"]}]}),
    "anything": of({"anyOf": [True]}),
    "elsewhere": of({"$ref": "https://schemas.invalid/x.json"}),
    "large": of({"type": "integer", "minimum": -1e30, "maximum": 1e30}),
    "larger": of({"type": "integer", "maximum": 2**63}),
    "root": of({"$ref": "#"}),
    "anchor": of({"$ref": "#A"}, **{"$defs": {"x": {"$anchor": "A", **A_TEXT}}}),
    "items": of({"type": "array", "items": True, "prefixItems": [True], "minItems": 5000}),
    "empty": of({"type": "array", "items": False}),
    "nothing": of({"enum": []}),
    "impossible": of({"type": "string", "minLength": 5, "maxLength": 1}),
    "pattern": of({"type": "string", "pattern": "^a{3000}$"}),
}
UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "no_properties": ({"type": "object", "properties": None}, "#/inputSchema/properties"),
    "no_type": (of({"type": []}), "#/inputSchema/properties/a/type"),
    "no_branch": (of({"anyOf": []}), "#/inputSchema/properties/a/anyOf"),
    "str": (of({"type": "str"}), "#/inputSchema/properties/a/type"),
    "nowhere": (of({"$ref": "#/$defs/A"}), "#/inputSchema/properties/a/$ref"),
}
IN_OLD_WORDS = ("optional", "enum", "const", "types")
"""Those that the grammar takes as they are, and formerly the bundled model's template did not."""


def listed(**schemas: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "description": name, "inputSchema": schema} for name, schema in schemas.items()]


def functions(**schemas: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, "parameters": each}} for name, each in schemas.items()]


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_every_legal_schema_of_a_client_is_served(nano_host: ServedHost, choice: str) -> None:
    for name, schema in LEGAL.items():
        body = {"tools": functions(**{name: schema}), "tool_choice": choice, "max_tokens": 4}
        answer = chat(nano_host, "Hello!", **body)
        assert answer["choices"], name


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_client_is_told_which_schema_is_none(nano_host: ServedHost, name: str) -> None:
    schema, location = UNUSABLE[name]
    body = {"messages": [{"role": "user", "content": "Hello!"}], "tools": functions(good=of(A_TEXT), **{name: schema})}
    answer = nano_host.http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    where = location.removeprefix("#/inputSchema").replace("/", ".")
    assert error["param"] == f"tools[1].function.parameters{where}"
    assert f'"{name}"' in error["message"]


def test_a_schema_that_nothing_fits_does_not_end_the_worker(nano_host: ServedHost) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "n", "schema": LEGAL["impossible"]}}
    assert chat(nano_host, "Hello!", response_format=shape, max_tokens=4)["choices"]
    schema = {"type": "array", "minItems": 3, "maxItems": 1}
    answer = nano_host.http.post("/v1/completions", json={"prompt": "a", "json_schema": schema, "max_tokens": 4})
    assert answer.status_code == 200


async def test_the_template_of_the_bundled_model_takes_legal_schemas_as_they_are() -> None:
    async with running() as engine:
        for name in IN_OLD_WORDS:
            await check_taken(engine, name)


async def check_taken(engine: Engine, name: str) -> None:
    answer = await engine.answer([{"role": "user", "content": "Hello!"}], tools=functions(**{name: LEGAL[name]}))
    assert answer["choices"], name


async def test_a_tool_whose_schema_is_none_is_left_out_and_reported() -> None:
    behaviour = {"tools": ["echo"], "listed": listed(**{name: schema for name, (schema, _) in UNUSABLE.items()})}
    async with hub_of(stub(behaviour=behaviour)) as hub:
        assert [tool.tool for tool in hub.offered()] == ["echo"]
        problems = hub.status("stub").tool_problems
        assert {each.tool: each.location for each in problems} == {name: place for name, (_, place) in UNUSABLE.items()}
        assert not any(each.is_offered for each in problems)


async def test_what_is_not_allowed_is_not_reported() -> None:
    behaviour = {"tools": ["echo"], "listed": listed(str=UNUSABLE["str"][0])}
    async with hub_of(stub(behaviour=behaviour, denied_tools=frozenset({"str"}))) as hub:
        assert not hub.status("stub").tool_problems


async def test_a_reference_to_another_document_is_reported_and_the_tool_is_offered_and_checked() -> None:
    schema = of({"$ref": "https://schemas.invalid/x.json"}, required=["a", "b"])
    async with hub_of(stub(behaviour={"tools": [], "listed": listed(elsewhere=schema)})) as hub:
        (tool,) = hub.offered()
        assert tool.function["function"]["parameters"] == of({}, required=["a", "b"])
        (problem,) = hub.status("stub").tool_problems
        assert problem == ToolProblemReport(
            tool="elsewhere",
            location="#/inputSchema/properties/a/$ref",
            message='"https://schemas.invalid/x.json" is not fetched: anything is accepted in its place',
            is_offered=True,
        )
        assert (await hub.call(tool.name, {"a": 5})).code == "invalid_arguments"
        assert (await hub.call(tool.name, {"a": 5, "b": 5})).code is None


async def test_arguments_are_checked_against_what_the_server_says() -> None:
    schema = of({"type": "string", "pattern": "^a{3000}$"})
    async with hub_of(stub(behaviour={"tools": [], "listed": listed(long=schema)})) as hub:
        (tool,) = hub.offered()
        assert tool.function["function"]["parameters"] == of(A_TEXT)
        assert (await hub.call(tool.name, {"a": "aaa"})).code == "invalid_arguments"
        assert (await hub.call(tool.name, {"a": "a" * 3000})).code is None


def test_a_host_with_bad_tools_chats_and_names_them(start_host: Callable[..., ServedHost], tmp_path: Path) -> None:
    some = {name: LEGAL[name] for name in ("true", "optional", "root", "large")}
    tools = listed(**some, str=UNUSABLE["str"][0])
    host = start_host(mcp_config=config(tmp_path, stub=stub_server(tools=[], listed=tools)))
    wait_for_tools(host)
    assert chat(host, "Hello!", max_tokens=4)["choices"]
    (problem,) = servers_of(host)["stub"]["tool_problems"]
    assert (problem["tool"], problem["location"]) == ("str", "#/inputSchema/properties/a/type")
    (entry,) = host.log_events("mcp_tool_problem")
    assert (entry["server"], entry["tool"], entry["location"]) == ("stub", "str", problem["location"])


async def test_a_control_token_that_a_schema_demands_is_sent_as_the_server_wants_it() -> None:
    schema = {"type": "object", "properties": {"text": {"enum": ["<|im_end|>", "</s>"]}}}
    async with hub_of(stub(behaviour={"tools": [], "listed": listed(echo=schema)})) as hub:
        assert (await hub.call("stub_echo", '{"text": "<\\u200b|im_end|>"}')).text == "<|im_end|>"
        assert (await hub.call("stub_echo", {"text": "\u200bother"})).code == "invalid_arguments"

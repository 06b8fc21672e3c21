"""Servers whose messages are almost right: what is wrong costs one tool, or one call, and no time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.mcp_peers import hub_of, stub
from tests.support.mcp_stub import NO_ARGUMENTS

START = '{"jsonrpc": "2.0", "id": ID, "result": {"content": [{"type": "text", "text": "caf'
LINES = {
    "surrogate": START + '\\ud83d"}]}}',
    "latin": START + '\u00e9"}]}}',
    "truncated": START,
    "id_last": '{"jsonrpc": "2.0", "result": {"content": [{"type": "te',
}
UNKNOWN: dict[str, Any] = {"content": [{"type": "text", "text": "one"}, {"type": "hologram", "depth": 3}]}
RESULTS = {"unknown": UNKNOWN, "structured": {"structuredContent": {"degrees": 21}}, "nothing": {"isError": False}}

CANNOT_BE_READ = "There is no result: the tool ran, but what its server answered cannot be read."
NOT_VALID = "There is no result: the tool ran, but what its server answered is not valid MCP."
INVALID = "tool_invalid_result"


async def test_a_malformed_tool_is_left_out_and_the_others_are_offered() -> None:
    listed = [{"name": "bare"}, {}, {"name": "rows", "inputSchema": NO_ARGUMENTS, "outputSchema": {"type": "array"}}]
    async with hub_of(stub(behaviour={"tools": ["echo"], "listed": listed})) as hub:
        assert [tool.tool for tool in hub.offered()] == ["echo"]
        problems = hub.status("stub").tool_problems
        assert [(each.tool, each.location) for each in problems] == [
            ("bare", "#/inputSchema"),
            ("tool 3", "#/inputSchema"),
            ("rows", "#/outputSchema/type"),
        ]
        assert (await hub.call("stub_echo", {"text": "hello"})).text == "hello"


async def test_a_tool_that_is_mended_is_offered_again() -> None:
    behaviour = {"tools": ["change"], "listed": [{"name": "bare"}], "page": 1}
    async with hub_of(stub(behaviour=behaviour)) as hub:
        assert len(hub.status("stub").tool_problems) == 1
        assert (await hub.call("stub_change", {"text": "more"})).code is None


@pytest.mark.parametrize(
    ("tool", "text", "code"),
    [
        ("surrogate", "caf\ufffd", None),
        ("latin", "caf\ufffd", None),
        ("truncated", CANNOT_BE_READ, INVALID),
        ("id_last", CANNOT_BE_READ, INVALID),
        ("unknown", "one\n[hologram]", None),
        ("structured", '{"degrees":21}', None),
        ("nothing", NOT_VALID, INVALID),
    ],
)
async def test_an_answer_that_is_almost_right_is_used_or_fails_at_once(tool: str, text: str, code: str | None) -> None:
    behaviour = {"tools": [*LINES, *RESULTS, "echo"], "lines": LINES, "results": RESULTS}
    async with hub_of(stub(behaviour=behaviour, timeout_seconds=300)) as hub:
        outcome = await hub.call(f"stub_{tool}", {})
        assert (outcome.text, outcome.code) == (text, code)
        assert (await hub.call("stub_echo", {"text": "hello"})).text == "hello"


def nested_schema(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


async def test_a_tool_whose_schema_is_nested_too_deep_to_be_read_costs_that_tool() -> None:
    listed = [{"name": "abyss", "inputSchema": nested_schema(300)}]
    async with hub_of(stub(behaviour={"tools": ["echo"], "listed": listed})) as hub:
        assert [tool.tool for tool in hub.offered()] == ["echo"]
        (problem,) = hub.status("stub").tool_problems
        assert (problem.tool, problem.message) == ("abyss", "it is nested deeper than 128 levels")


async def test_an_error_without_an_id_is_that_of_the_only_call() -> None:
    behaviour = {
        "tools": ["as_text", "nameless"],
        "lines": {
            "as_text": '{"jsonrpc": "2.0", "id": "ID", "result": {"content": []}}',
            "nameless": '{"jsonrpc": "2.0", "id": null, "error": {"code": -32603, "message": "cannot read that"}}',
        },
    }
    async with hub_of(stub(behaviour=behaviour, timeout_seconds=300)) as hub:
        assert (await hub.call("stub_as_text", {})).code is None  # its id is not waited for any more
        assert "cannot read that" in (await hub.call("stub_nameless", {})).text


async def test_arguments_reach_the_server_with_all_digits_and_not_deeper_than_it_can_be_told() -> None:
    async with hub_of(stub(behaviour={"tools": ["echo"]})) as hub:
        assert (await hub.call("stub_echo", '{"text": "a", "n": 1180591620717411303424}')).code is None
        deep: Any = 1
        for _ in range(300):
            deep = [deep]
        outcome = await hub.call("stub_echo", {"text": "a", "deep": deep})
        assert outcome.code == "invalid_arguments"
        assert "nested deeper than 200 levels" in outcome.text

"""Arguments that come as JSON text."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.mcp_servers.argument_texts import values_read, with_arguments_read

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "wait": {"type": "boolean"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "names": {"type": "array"},
        "config": {"type": "object"},
    },
}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"wait": "true", "count": "3", "share": "0.5"}, {"wait": True, "count": 3, "share": 0.5}),
        ({"names": '["a", "b"]', "config": '{"a": 1}'}, {"names": ["a", "b"], "config": {"a": 1}}),
        ({"text": "3", "unknown": "3"}, {"text": "3", "unknown": "3"}),
        ({"wait": True, "names": ["1"]}, {"wait": True, "names": ["1"]}),
        ({"wait": "perhaps", "count": "", "names": "a, b"}, {"wait": "perhaps", "count": "", "names": "a, b"}),
    ],
)
def test_a_text_is_read_where_something_else_is_wanted(given: dict[str, Any], read: dict[str, Any]) -> None:
    assert values_read(given, SCHEMA) == read


def call(arguments: Any, method: str = "tools/call") -> dict[str, Any]:
    return {"id": 1, "method": method, "params": {"name": "t", "arguments": arguments}}


def test_all_arguments_may_be_one_text() -> None:
    assert with_arguments_read(call('{"a": "1"}')) == call({"a": "1"})


@pytest.mark.parametrize(
    "message", [call({"a": "1"}), call("a=1"), call("[1]"), call("{}", method="prompts/get"), {"method": "tools/call"}]
)
def test_other_messages_stay_as_they_are(message: dict[str, Any]) -> None:
    assert with_arguments_read(message) is message

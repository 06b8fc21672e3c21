"""Tools that leave no room for the conversation are named by their servers, and so is the way out."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.chat.tools.context_budget import ServerTools, servers_to_exclude, tools_by_server, with_tool_tokens
from modelhost.errors import ContextLengthExceeded
from modelhost.exchange.requests import Tool

SIX = [
    ServerTools(server=name, count=count, size=size)
    for name, count, size in [
        ("time", 2, 1_000),
        ("filesystem", 14, 14_000),
        ("git", 12, 9_000),
        ("memory", 9, 7_000),
        ("everything", 13, 6_000),
        ("fetch", 3, 3_000),
    ]
]


def too_long(tokens: int | None = None, context: int | None = None) -> ContextLengthExceeded:
    found = {"prompt_tokens": tokens, "context_length": context}
    return ContextLengthExceeded("too long", **{key: value for key, value in found.items() if value is not None})


def named(context: int, tools: list[ServerTools] = SIX, tokens: int = 10_040, **given: Any) -> ContextLengthExceeded:
    """The error for 40 tokens of conversation and four characters a token of tools."""
    counts = {"message_chars": 160, "message_tokens": 40, **given}
    return with_tool_tokens(too_long(tokens, context), "nano", tools, **counts)


def test_the_largest_servers_are_to_be_left_out_until_the_rest_fits() -> None:
    error = named(4096)
    assert error.message.startswith(
        "The tools are too long: the prompt has 10040 tokens, and the tools of 6 servers take 10000 of 4096 tokens "
        "that nano holds. Leave out filesystem (14 tools, about 3500 tokens), git (12 tools, about 2250 tokens) and "
        'memory (9 tools, about 1750 tokens): give the others as mcp.servers of the request (["everything", "fetch", '
        '"time"]), disable them in mcp.json ("disabled": true) or allow fewer'
    )
    assert error.message.endswith("or serve the model with a larger --context-length.")
    assert error.details == {
        "prompt_tokens": 10_040,
        "context_length": 4096,
        "tool_tokens": 10_000,
        "tool_tokens_by_server": {
            "filesystem": 3500,
            "git": 2250,
            "memory": 1750,
            "everything": 1500,
            "fetch": 750,
            "time": 250,
        },
        "leave_out": ["filesystem", "git", "memory"],
    }


def test_where_one_is_enough_one_is_named() -> None:
    error = named(8192)
    assert error.details["leave_out"] == ["filesystem"]
    assert "Leave out filesystem (14 tools, about 3500 tokens): give the others" in error.message


def test_where_no_server_fits_whole_single_tools_are_the_way_out() -> None:
    error = named(128)
    assert error.details["leave_out"] == ["filesystem", "git", "memory", "everything", "fetch", "time"]
    assert "None of them has room with all its tools: filesystem (14 tools, about 3500 tokens), git" in error.message
    assert "mcp.tools" in error.message
    one = named(512, [ServerTools(server="git", count=1, size=9_000)])
    assert "the tools of 1 server take 10000 of 512" in one.message
    assert "None of them has room with all its tools: git (1 tool, about 10000 tokens)." in one.message


def test_without_a_count_of_the_conversation_its_share_of_the_characters_is_taken() -> None:
    assert named(8192, message_chars=40_000, message_tokens=None).details["tool_tokens"] == 5020


def test_where_the_messages_take_more_than_the_tools_they_are_to_be_shortened() -> None:
    error = named(4096, tokens=5000, message_tokens=3000)
    assert error.message.startswith("Tools and messages are too long: the prompt has 5000 tokens")
    assert "take 2000 of 4096 tokens that nano holds. Shorten the messages. Leave out filesystem" in error.message


def test_a_conversation_that_is_too_long_itself_is_not_blamed_on_the_tools() -> None:
    assert named(4096, message_tokens=4096).message == "too long"


@pytest.mark.parametrize(("tokens", "context"), [(None, None), (5000, None), (None, 2048)])
def test_an_error_without_numbers_stays_as_it_is(tokens: int | None, context: int | None) -> None:
    error = too_long(tokens, context)
    assert with_tool_tokens(error, "nano", SIX, message_chars=10, message_tokens=3) is error


@pytest.mark.parametrize(
    ("room", "count"), [(16, 0), (15, 1), (10, 1), (6, 1), (5, 2), (2, 2), (1, 3), (0, 3), (-5, 3)]
)
def test_no_more_servers_are_left_out_than_needed(room: int, count: int) -> None:
    largest_first = [ServerTools(server=str(size), count=1, size=size) for size in (10, 4, 2)]
    assert servers_to_exclude(largest_first, room) == largest_first[:count]


def test_tools_are_put_together_by_their_servers() -> None:
    tools = [Tool(name=name, description="x" * 100) for name in ("a_1", "b_1", "a_2")]
    found = tools_by_server(tools, lambda name: name[0])
    assert [(each.server, each.count) for each in found] == [("a", 2), ("b", 1)]
    assert found[0].size == 2 * found[1].size > 200

"""Which tools a request gets: those of the host, its own, or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.tools.host_tools import granted_tools, with_tools, without_tools
from modelhost.errors import InvalidRequest, McpServerNotFound, ToolNotFound
from modelhost.exchange.bodies import body_of
from modelhost.exchange.requests import ChatRequest
from modelhost.tools.catalogue import OfferedTool
from modelhost.tools.hub import ToolHub
from modelhost.tools.servers_file import ToolServers
from modelhost.tools.toolbox import Toolbox
from tests.support.mcp_peers import hub_of, stub

OWN = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}


async def chosen(*, is_injected: bool = True, **fields: Any) -> list[str]:
    """The tools of two servers, ``a`` and ``b``, that a request with ``fields`` gets."""
    request = request_of(**fields)
    async with hub_of(stub("a", behaviour={"tools": ["echo", "pid"]}), stub("b", behaviour={"tools": ["echo"]})) as hub:
        return [tool.name for tool in granted_tools(request, toolbox(hub, is_injected=is_injected)).tools]


def request_of(**fields: Any) -> ChatRequest:
    request = parsed("chat", {"messages": [{"role": "user", "content": "Hi"}], **fields})
    assert isinstance(request, ChatRequest)
    return request


def toolbox(hub: ToolHub, *, is_injected: bool = True) -> Toolbox:
    toolbox = Toolbox(Path("mcp.json"), ToolServers(is_injected=is_injected), None)
    toolbox.hub = hub
    return toolbox


ALL = ["a_echo", "a_pid", "b_echo"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ALL),
        ({"tools": []}, []),
        ({"tools": [OWN]}, []),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": "required"}, ALL),
        ({"tools": [], "mcp": {}}, []),
        ({"tool_choice": "none", "mcp": {}}, []),
        ({"mcp": {}}, ALL),
        ({"tools": [OWN], "mcp": {}}, ALL),
        ({"tools": [OWN], "mcp": {"servers": ["b"]}}, ["b_echo"]),
        ({"mcp": {"servers": ["a"]}}, ["a_echo", "a_pid"]),
        ({"mcp": {"servers": ["a", "b"], "tools": ["echo"]}}, ["a_echo", "b_echo"]),
        ({"mcp": {"tools": ["a_pid", "b_echo"]}}, ["a_pid", "b_echo"]),
        ({"mcp": {"servers": ["b"], "tools": ["a_pid"]}}, []),
        ({"mcp": {"servers": []}}, []),
        ({"mcp": {"approval": "deny", "max_turns": 3}}, ALL),
        ({"n": 2}, []),
        ({"logprobs": True}, []),
        ({"response_format": {"type": "json_object"}}, []),
        ({"guided_regex": "a+"}, []),
        ({"response_format": {"type": "text"}}, ALL),
        ({"response_format": {"type": "text"}, "mcp": {}}, ALL),
        ({"response_format": {"type": "json_object"}, "mcp": {}}, ALL),
        ({"n": 1, "logprobs": False}, ALL),
    ],
    ids=str,
)
async def test_tools_that_a_request_gets(fields: Mapping[str, Any], names: list[str]) -> None:
    assert await chosen(**fields) == names


async def test_tools_that_are_not_given_unasked_are_given_to_who_asks() -> None:
    assert await chosen(is_injected=False) == []
    assert await chosen(is_injected=False, mcp={}) == ALL


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"logprobs": True},
        {"guided_regex": "a+"},
    ],
    ids=str,
)
async def test_wishes_and_what_excludes_them_are_refused(fields: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await chosen(mcp={}, **fields)
    assert refused.value.param == "mcp"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"guided_regex": "a+"}, "guided_regex"),
        ({"grammar": 'root ::= "a"'}, "grammar"),
    ],
    ids=str,
)
async def test_a_demanded_call_is_refused_by_the_name_of_what_keeps_the_tools_away(
    fields: Mapping[str, Any], name: str
) -> None:
    with pytest.raises(InvalidRequest, match=rf"and {name} keeps those of the host away") as refused:
        await chosen(tool_choice="required", **fields)
    assert refused.value.param == "tool_choice"
    assert await chosen(is_injected=False, tool_choice="required", **fields) == []  # the host would give none anyway


@pytest.mark.parametrize(
    ("fields", "with_servers", "without_servers"),
    [
        ({}, (), None),
        ({"tools": []}, (), ()),
        ({"mcp": {"servers": []}}, (), ()),
        ({"n": 2}, (), ()),
        ({"response_format": {"type": "text"}}, (), None),
    ],
    ids=str,
)
async def test_for_a_server_with_tools_of_its_own_a_request_says_that_it_has_none(
    fields: Mapping[str, Any], with_servers: tuple[()] | None, without_servers: tuple[()] | None
) -> None:
    async with hub_of(stub("a")) as hub:
        assert without_tools(request_of(**fields), toolbox(hub)).tools == with_servers
    no_file = Toolbox(None, ToolServers(), None)
    assert without_tools(request_of(**fields), no_file).tools == without_servers
    assert "hub" not in no_file.__dict__  # which would load the MCP SDK


@pytest.mark.parametrize(
    "mcp",
    [{"servers": "a"}, {"server": ["a"]}, {"max_turns": 0}, {"approval": "perhaps"}, {"tools": [""]}, []],
    ids=str,
)
async def test_wishes_of_a_wrong_shape_are_refused(mcp: Any) -> None:
    with pytest.raises(InvalidRequest, match="mcp"):
        await chosen(mcp=mcp)


async def test_names_that_are_not_there_are_refused() -> None:
    with pytest.raises(McpServerNotFound, match="nowhere"):
        await chosen(mcp={"servers": ["nowhere"]})
    with pytest.raises(ToolNotFound, match="ecko"):
        await chosen(mcp={"tools": ["a_ecko"]})


def test_request_to_the_model_has_the_tools_and_not_the_wishes() -> None:
    function = {"type": "function", "function": {"name": "a_echo"}}
    tool = OfferedTool(
        name="a_echo", function=function, server="a", tool="echo", annotations={}, is_read_only=True, approval="auto"
    )
    found = with_tools(request_of(mcp={}), [tool])
    assert found.mcp is None
    assert body_of(found)["tools"] == [function]
    assert body_of(with_tools(request_of(mcp={}, tools=[OWN]), [tool]))["tools"] == [OWN, function]


def test_a_tool_of_the_client_may_not_have_the_name_of_one_of_the_host() -> None:
    function = {"type": "function", "function": {"name": "mine"}}
    tool = OfferedTool(
        name="mine", function=function, server="a", tool="mine", annotations={}, is_read_only=True, approval="auto"
    )
    with pytest.raises(InvalidRequest, match="Rename yours") as refused:
        with_tools(request_of(mcp={}, tools=[OWN]), [tool])
    assert refused.value.param == "tools[0]"

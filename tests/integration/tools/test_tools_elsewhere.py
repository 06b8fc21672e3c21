"""A model of another modelhost that has tools of its own: whose tools a request gets, and that "none" means none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import ServedHost
from tests.support.tool_hosts import chat, config, scripted_host, stub_server, wait_for_tools

Start = Callable[..., ServedHost]
SAID = '/call far_echo {"text": "four"}'
OWN = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}
MADE = "modelhost.tool_calls"


@pytest.fixture
def far(start_host: Start, tmp_path: Path) -> ServedHost:
    """A host whose MCP server is ``far``."""
    return scripted_host(start_host, tmp_path, servers={"far": stub_server()})


def near(start_host: Start, far: ServedHost, **settings: Any) -> ServedHost:
    options = {"dialect": "modelhost", "model": "scripted"}
    return start_host(model=f"{far.url}/v1", alias=["scripted"], engine_options=options, **settings)


def made_by(host: ServedHost, **fields: Any) -> list[str]:
    """The calls that a host has made, here or there, for a request that wants one of the far host's tools."""
    answer = chat(host, SAID, max_tokens=60, **fields)
    assert len(answer["choices"]) == fields.get("n", 1)
    return [call["name"] for call in answer.get(MADE) or ()]


def test_a_request_that_is_to_have_no_tools_gets_none_of_the_far_hosts(start_host: Start, far: ServedHost) -> None:
    here = near(start_host, far)
    assert made_by(here) == ["far_echo"]  # nobody says that there are none
    for fields in (
        {"tools": []},
        {"tool_choice": "none"},
        {"tool_choice": "none", "tools": [OWN]},
        {"tools": [], "tool_choice": "auto"},
        {"mcp": {"servers": []}},
        {"n": 2},
        {"tools": [], "min_tokens": 2},
    ):
        assert not made_by(here, **fields), fields


def test_a_host_with_tools_gives_its_own_and_never_those_of_the_far_host(
    start_host: Start, far: ServedHost, tmp_path: Path
) -> None:
    folder = tmp_path / "near"
    folder.mkdir()
    here = wait_for_tools(near(start_host, far, mcp_config=config(folder, near=stub_server())))
    answer = chat(here, '/call near_echo {"text": "four"}', max_tokens=60)
    assert [call["name"] for call in answer[MADE]] == ["near_echo"]
    for fields in ({"mcp": {"servers": []}}, {"response_format": {"type": "json_object"}}, {"logprobs": True}):
        assert not made_by(here, **fields), fields

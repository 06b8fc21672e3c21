"""The examples for MCP clients, and the page about them, name commands, addresses and variables that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from typer.main import get_command

from modelhost.cli.main import app
from modelhost.config.environment import OTHER_NAMES
from modelhost.config.vllm_environment import VARIABLES, read_vllm_variables
from modelhost.mcp_servers.faces import FACES

ROOT: Final = Path(__file__).parents[3]
EXAMPLES: Final = ("claude-desktop.json", "crush.json", "fluidmcp.json")
ELSEWHERE: Final = {"HUGGING_FACE_HUB_TOKEN"}


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "examples" / name).read_text("utf-8"))
    return found


def servers() -> list[Any]:
    return [
        pytest.param(server, id=f"{name}-{key}")
        for name in EXAMPLES
        for key, server in {**example(name).get("mcpServers", {}), **example(name).get("mcp", {})}.items()
    ]


@pytest.mark.promise("vllm-mcp.run")
@pytest.mark.parametrize("server", servers())
def test_a_server_of_an_example_is_one_that_there_is(server: dict[str, Any]) -> None:
    if server.get("type") == "http":
        assert urlsplit(server["url"]).path in {face.path for face in FACES.values()}
        return
    assert server["command"] == "modelhost"
    name, *options = server["args"]
    command: Any = get_command(app)
    assert command.get_command(None, name).make_context(name, options).params["face"] in FACES


@pytest.mark.parametrize("server", servers())
def test_the_variables_of_an_example_are_known_and_sound(server: dict[str, Any]) -> None:
    variables = server.get("env", {})
    assert set(variables) <= {*VARIABLES, *OTHER_NAMES, *ELSEWHERE}
    read_vllm_variables(variables)


def test_the_page_says_of_each_variable_what_it_means() -> None:
    page = (ROOT / "docs" / "mcp-servers.md").read_text("utf-8")
    said = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", page, flags=re.MULTILINE))
    assert set(said) == {*VARIABLES, *ELSEWHERE, "VLLM_MAX_SESSIONS", "VLLM_MAX_SESSION_MESSAGES"}
    for name, variable in VARIABLES.items():
        assert said[name].startswith(variable.meaning)


def test_the_page_names_every_server() -> None:
    page = (ROOT / "docs" / "mcp-servers.md").read_text("utf-8")
    for face in FACES.values():
        assert f"`{face.path}`" in page
        assert f"`modelhost mcp{'' if face.name == 'all' else f' {face.name}'}`" in page

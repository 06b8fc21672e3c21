"""``modelhost tools`` against a host in memory behind a real socket, and with servers of a file."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from modelhost.cli.main import app
from modelhost.cli.tools.commands import app as tools_app
from modelhost.errors import ConfigError, McpServerNotFound, ModelhostError, ToolNotFound
from modelhost.operations.table import TOOL_OPERATIONS
from modelhost.tools.status import ResourceText, ToolProblemReport
from tests.support import mcp_peers
from tests.unit.cli.models.test_cli_models_remote import Served
from tests.unit.operations.fake_tools import FakeToolHost, offered, server_status


def invoke(*words: str) -> Result:
    result = CliRunner().invoke(app, ["tools", *words])
    if isinstance(result.exception, ModelhostError):
        raise result.exception
    return result


@pytest.fixture
def tool_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    # Its log would go to the standard output that the commands write to.
    monkeypatch.setattr("modelhost.http.admin.operations.log", types.SimpleNamespace(info=lambda *_, **__: None))
    server = Served(FakeToolHost())
    yield server
    server.stop()


@pytest.fixture
def hub(tool_host: Served) -> Any:
    host: Any = tool_host.host
    return host.toolbox.hub


@pytest.fixture
def run(tool_host: Served) -> Callable[..., Result]:
    return lambda *words: invoke(*words, "--url", tool_host.url)


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """A file with the server ``stub`` and others."""

    def write(**servers: Any) -> Path:
        file = tmp_path / "mine.json"
        stub = {"command": sys.executable, "args": [str(mcp_peers.HERE / "mcp_stub.py"), "{}"]}
        file.write_text(json.dumps({"mcpServers": {"stub": stub, **servers}}))
        return file

    return write


def test_every_command_has_the_summary_of_its_operation() -> None:
    shown = {command.name: command.help for command in tools_app.registered_commands}
    assert shown == {each.command: f"{each.summary}." for each in TOOL_OPERATIONS if each.command}


def test_tools_are_a_table_with_a_line_for_each(run: Callable[..., Result]) -> None:
    lines = [" ".join(line.split()) for line in run("list").output.splitlines()]
    assert lines == [
        "Tool Server Runs Description",
        "one_echo one always Does echo.",
        "one_add/up one if agreed Does add/up.",
    ]


def test_tools_as_json_are_the_hosts_answer(run: Callable[..., Result]) -> None:
    assert len(json.loads(run("list", "--json").output)["data"]) == 2
    assert json.loads(run("list", "--server", "two", "--json").output)["data"] == []


def test_no_tools_and_no_servers_are_said(run: Callable[..., Result], hub: Any) -> None:
    hub.tools.clear()
    hub.servers.clear()
    assert "no tools" in run("list").stderr
    assert "no MCP servers are in /srv/mcp.json" in run("servers").stderr


def test_servers_are_a_table_that_says_what_is_wrong(run: Callable[..., Result], hub: Any) -> None:
    hub.servers["three"] = server_status("three", why_disabled="NOPE is not set", state="disabled")
    result = run("servers")
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines[1:] == [
        "one ready stdio 2025-11-25 2 3 250 ms 0",
        "two failed stdio 2025-11-25 0 3 250 ms 0 exited with status 1",
        "three disabled stdio 2025-11-25 1 3 250 ms 0 NOPE is not set",
        "/srv/mcp.json",
    ]
    assert result.exit_code == 0


def test_tools_that_are_left_out_or_changed_are_named(run: Callable[..., Result], hub: Any) -> None:
    left_out = ToolProblemReport(tool="bad", location="#/inputSchema/type", message="'str' is none", is_offered=False)
    changed = ToolProblemReport(tool="odd", location="#/inputSchema/$ref", message="not fetched", is_offered=True)
    hub.servers["one"] = server_status("one", tool_problems=(left_out, changed))
    output = " ".join(run("servers").output.split())
    assert "bad is left out: #/inputSchema/type: 'str' is none odd: #/inputSchema/$ref: not fetched" in output


def test_what_is_wrong_with_the_file_is_said(run: Callable[..., Result], tool_host: Served) -> None:
    host: Any = tool_host.host
    host.toolbox.file_error = "mcp.json: line 3"
    assert "error: mcp.json: line 3" in run("servers").stderr


def test_what_a_strange_server_says_of_itself_cannot_command_the_terminal(run: Callable[..., Result], hub: Any) -> None:
    hub.servers["two"] = server_status("two", state="failed", last_error="\x1b[2Jgone\x07\n\u202eback")
    assert not {"\x1b", "\x07", "\u202e"} & set(run("servers").output)


@pytest.mark.parametrize("name", ["one_echo", "one.echo", "echo"])
def test_a_tool_is_called_by_any_of_its_names(run: Callable[..., Result], hub: Any, name: str) -> None:
    assert run("call", name, "text=12", "count=3", 'more=["a"]').output == "done\n"
    assert hub.called[0][:2] == ("one_echo", {"text": "12", "count": 3, "more": ["a"]})


def test_arguments_are_a_json_object_too(run: Callable[..., Result], hub: Any) -> None:
    run("call", "one_echo", "--json", '{"text": 12}')
    assert hub.called[0][1] == {"text": 12}
    for wrong in (("--json", "[]"), ("--json", "{"), ("--json", "{}", "text=1"), ("text",)):
        assert run("call", "one_echo", *wrong).exit_code == 2


def test_the_own_name_of_several_tools_is_not_enough(run: Callable[..., Result], hub: Any) -> None:
    hub.tools["two_echo"] = offered("two", "echo")
    refused = run("call", "echo")
    assert refused.exit_code == 2
    assert "one.echo and two.echo" in " ".join(refused.stderr.replace("│", "").split())


def test_a_call_that_fails_is_an_error_and_exit_code_1(run: Callable[..., Result], hub: Any) -> None:
    hub.outcome = {"text": "it broke", "is_error": True, "code": "tool_failed"}
    failed = run("call", "one_echo")
    assert (failed.exit_code, failed.stdout, failed.stderr) == (1, "", "error: it broke\n")
    whole = run("call", "one_echo", "--whole")
    assert (whole.exit_code, json.loads(whole.stdout)["code"]) == (1, "tool_failed")


def test_a_tool_or_a_server_that_is_not_there_is_the_hosts_error(run: Callable[..., Result]) -> None:
    with pytest.raises(ToolNotFound):
        run("call", "nothing")
    with pytest.raises(McpServerNotFound):
        run("restart", "three")


def test_a_server_is_restarted_disabled_and_enabled(run: Callable[..., Result]) -> None:
    assert run("restart", "two").output == "two: connecting\n"
    assert run("disable", "one").output == "one: disabled\n"
    assert json.loads(run("enable", "one", "--json").output)["state"] == "connecting"


# Without a host.


@pytest.mark.promise("mistralrs.mcp.scripts")
def test_a_file_is_checked_by_starting_its_servers(config: Callable[..., Path]) -> None:
    file = config(
        broken={"command": "there-is-no-such-program"},
        secret={"command": "x", "env": {"KEY": "${NOPE_NOT_SET}"}},
        off={"command": "x", "disabled": True, "colour": "red"},
    )
    result = invoke("servers", "--config", str(file))
    rows = {words[0]: words for line in result.stdout.splitlines() if (words := line.split())}
    assert rows["stub"][1:6] == ["ready", "stdio", "2025-11-25", "9", "0"]
    assert rows["broken"][1] == "failed"
    assert "there-is-no-such-program" in rows["broken"][-1]
    assert "NOPE_NOT_SET" in " ".join(rows["secret"])
    assert rows["off"][1] == "disabled"
    assert 'unknown field "colour"' in result.stderr
    assert result.exit_code == 1


def test_a_file_whose_servers_all_work_or_are_off_is_fine(config: Callable[..., Path]) -> None:
    result = invoke("servers", "--config", str(config(off={"command": "x", "disabled": True})), "--json")
    assert result.exit_code == 0
    assert [server["state"] for server in json.loads(result.stdout)["data"]] == ["ready", "disabled"]


def test_a_tool_of_a_file_is_called(config: Callable[..., Path]) -> None:
    assert invoke("call", "stub.echo", "text=12", "--config", str(config())).stdout == "12\n"


def test_a_file_and_a_host_are_not_asked_at_once(config: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="--config uses no host"):
        invoke("list", "--config", str(config()), "--url", "http://127.0.0.1:9")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json"):
        invoke("list", "--config", str(tmp_path / "none.json"))


# Resources and prompts.


def _lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_resources_are_a_table_and_servers_that_give_none_are_named(
    run: Callable[..., Result], tool_host: Served, hub: Any
) -> None:
    assert _lines(run("resources")) == ["Server Address Kind Size Description", "one one://all text/plain all"]
    assert json.loads(run("resources", "--server", "one", "--json").stdout)["data"][0]["uri"] == "one://all"
    hub.silent.add("one")
    result = run("resources")
    assert "warning: one: one is silent" in result.stderr
    assert "no resources" in result.stderr
    with pytest.raises(ModelhostError, match="one is silent"):
        run("resources", "--server", "one")


def test_a_resource_is_printed_as_it_is(run: Callable[..., Result], hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("resource", "one", "one://all").stdout == "all of it\n"
    assert json.loads(run("resource", "one", "one://all", "--json").stdout)["contents"][0]["text"] == "all of it"

    async def image(_server: str, uri: str) -> tuple[ResourceText, ...]:
        return (ResourceText(uri=uri, media_type="image/png", text=None, blob="iVBORw0KGgo="),)

    monkeypatch.setattr(hub.reading, "resource", image)
    assert run("resource", "one", "one://logo").stdout_bytes == b"\x89PNG\r\n\x1a\n"
    monkeypatch.setattr("modelhost.cli.tools.commands.is_terminal", lambda: True)
    result = run("resource", "one", "one://logo")
    assert (result.stdout, result.stderr) == (
        "",
        "one://logo is 8 bytes (image/png): send the output to a file\n",
    )


def test_prompts_are_a_table_and_one_is_filled_in(run: Callable[..., Result]) -> None:
    assert _lines(run("prompts")) == ["Server Prompt Arguments Description", "one pack city="]
    assert run("prompt", "one", "pack", "city=Rome").stdout == "user: pack Rome\n"
    assert json.loads(run("prompt", "one", "pack", "city=Rome", "--json").stdout)["name"] == "pack"
    assert run("prompt", "one", "pack", "city").exit_code == 2


def test_resources_and_prompts_of_a_file_are_read_without_a_host(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    server = {"command": sys.executable, "args": [str(mcp_peers.HERE / "mcp_sdk_server.py"), "stdio"]}
    file.write_text(json.dumps({"mcpServers": {"sdk": server}}))
    for command in ("resources", "prompts"):
        found = json.loads(invoke(command, "--config", str(file), "--json").stdout)
        assert found["errors"] == {}
        assert {each["server"] for each in found["data"]} == {"sdk"}

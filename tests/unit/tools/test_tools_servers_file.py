"""`mcp.json` in all its shapes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelhost.errors import ConfigError
from modelhost.tools.entry import HttpTransport, SamplingPolicy, ServerEntry, StdioTransport
from modelhost.tools.servers_file import ToolServers, read_servers

Read = Callable[..., ToolServers]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a file with that content: ``read(content, VARIABLE="value")``."""

    def reader(content: Any, dotenv: str | None = None, **environ: str) -> ToolServers:
        path = tmp_path / "mcp.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv, "utf-8")
        return read_servers(path, environ)

    return reader


def only(found: ToolServers) -> ServerEntry:
    (entry,) = found.servers
    assert entry.why_disabled is None, entry.why_disabled
    return entry


def process(found: ToolServers) -> StdioTransport:
    transport = only(found).transport
    assert isinstance(transport, StdioTransport)
    return transport


def far(found: ToolServers) -> HttpTransport:
    transport = only(found).transport
    assert isinstance(transport, HttpTransport)
    return transport


def reason(found: ToolServers) -> str:
    (entry,) = found.servers
    assert not entry.is_enabled
    assert entry.transport is None
    assert entry.why_disabled is not None
    return entry.why_disabled


def mcp_servers(**fields: Any) -> Mapping[str, Any]:
    return {"mcpServers": {"one": fields}}


@pytest.mark.promise("mistralrs.mcp.file")
def test_a_list_with_sources_as_mistralrs_has_it(read: Read) -> None:
    found = read(
        {
            "servers": [
                {
                    "name": "Filesystem",
                    "source": {"type": "Process", "command": "npx", "args": ["-y", "server", "."], "work_dir": "/srv"},
                    "tool_prefix": "fs",
                    "enabled": False,
                },
                {
                    "name": "Search",
                    "source": {"type": "Http", "url": "http://search/mcp", "timeout_secs": 7},
                    "bearer_token": "${TOKEN}",
                },
            ],
            "auto_register_tools": False,
            "tool_timeout_secs": 20,
            "max_concurrent_calls": 3,
        },
        TOKEN="geheim",  # noqa: S106
    )
    files, search = found.servers
    assert found.warnings == ()
    assert not found.is_injected
    assert files.transport == StdioTransport(command="npx", args=("-y", "server", "."), cwd=Path("/srv"))
    assert (files.prefix, files.is_enabled, files.timeout_seconds) == ("fs", False, 20)
    assert search.transport == HttpTransport(
        kind="http", url="http://search/mcp", headers={"Authorization": "Bearer geheim"}
    )
    assert (search.timeout_seconds, search.max_concurrent_calls) == (7, 3)


@pytest.mark.promise("candle-vllm.injection.file")
def test_a_flat_list_as_candle_vllm_has_it(read: Read) -> None:
    server = {"name": "a", "url": "https://a/mcp", "auth": "Basic abc", "timeout_secs": 5, "instructions": "Be brief."}
    entry = only(read({"servers": [server]}))
    assert entry.transport == HttpTransport(kind="http", url="https://a/mcp", headers={"Authorization": "Basic abc"})
    assert entry.instructions == "Be brief."


def test_an_object_of_servers_as_vs_code_has_it(read: Read) -> None:
    found = read({"inputs": [], "servers": {"fs": {"type": "stdio", "command": "npx", "args": ["-y", "x"]}}})
    assert process(found) == StdioTransport(command="npx", args=("-y", "x"))
    assert found.warnings == ()


def test_mcp_servers_as_claude_and_cursor_have_it(read: Read) -> None:
    assert process(read(mcp_servers(command="x", env={"PORT": 80, "ON": True}))).env == {"PORT": "80", "ON": "true"}
    entry = only(read(mcp_servers(type="sse", url="http://a/b", headers={"X-Key": "k"}, timeout=15)))
    assert entry.transport == HttpTransport(kind="sse", url="http://a/b", headers={"X-Key": "k"})
    assert entry.timeout_seconds == 15


def test_mcp_as_crush_has_it(read: Read) -> None:
    found = read({"mcp": {"a": {"type": "http", "url": "http://a", "disabled_tools": ["rm"]}}, "providers": {}})
    assert not only(found).allows("rm")
    assert found.warnings == ('mcp.json: unknown "providers": ignored',)


def test_mcp_as_opencode_has_it(read: Read) -> None:
    found = read(
        """{
  "$schema": "https://opencode.ai/config.json", // the file of opencode
  "mcp": {
    "files": {"type": "local", "command": ["npx", "-y", "files", 8], "environment": {"A": "{env:KEY}"}, "timeout": 5e3},
    "search": {"type": "remote", "url": "http://search/mcp", "headers": {"X-Key": "k-{env:KEY}"}, "enabled": false,},
  },
}""",
        KEY="value",
    )
    files, search = found.servers
    assert files.transport == StdioTransport(command="npx", args=("-y", "files", "8"), env={"A": "value"})
    assert (files.is_enabled, files.timeout_seconds) == (True, 5)
    assert search.transport == HttpTransport(kind="http", url="http://search/mcp", headers={"X-Key": "k-value"})
    assert not search.is_enabled


def test_arguments_beside_a_command_line_in_one_list_follow_it(read: Read) -> None:
    assert process(read(mcp_servers(command=["uvx", "time"], args=["--zone", 1]))).args == ("time", "--zone", "1")


@pytest.mark.parametrize(
    "fields",
    [
        {"isActive": False},
        {"is_active": False},
        {"isActive": "false"},
        {"isActive": False, "enabled": True},
        {"enabled": "false"},
        {"enabled": 0},
        {"disabled": True},
        {"disabled": "true"},
        {"disabled": "True", "enabled": "true"},
    ],
)
def test_a_server_that_any_field_switches_off_is_not_started(read: Read, fields: Mapping[str, Any]) -> None:
    found = read(mcp_servers(command="x", **fields))
    assert not only(found).is_enabled
    assert found.warnings == ()


@pytest.mark.parametrize("fields", [{"isActive": True}, {"enabled": "true"}, {"disabled": "false"}, {"disabled": None}])
def test_a_server_that_no_field_switches_off_is_started(read: Read, fields: Mapping[str, Any]) -> None:
    assert only(read(mcp_servers(command="x", **fields))).is_enabled


def test_the_settings_of_vs_code_hold_servers_within_mcp(read: Read) -> None:
    assert process(read({"mcp": {"servers": {"a": {"command": "x"}}}})).command == "x"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"url": "http://a/mcp"}, "http"),
        ({"url": "http://a/sse"}, "sse"),
        ({"url": "http://a/sse", "type": "streamable-http"}, "http"),
        ({"url": "http://a", "transport": "streamableHttp"}, "http"),
    ],
)
def test_the_kind_of_a_remote_server(read: Read, fields: Mapping[str, Any], kind: str) -> None:
    assert far(read(mcp_servers(**fields))).kind == kind


def test_our_own_fields(read: Read) -> None:
    entry = only(
        read(
            mcp_servers(
                command="x",
                approval="ask",
                tool_approval={"read": "auto"},
                sampling={"mode": "ask", "max_tokens": 10},
                allowed_tools=["read", "write"],
                denied_tools=["write"],
                connect_timeout=3,
                protocol="legacy",
            )
        )
    )
    assert (entry.approval_of("read"), entry.approval_of("write")) == ("auto", "ask")
    assert entry.sampling == SamplingPolicy(mode="ask", max_tokens=10)
    assert [entry.allows(tool) for tool in ("read", "write", "other")] == [True, False, False]
    assert (entry.connect_timeout_seconds, entry.protocol) == (3, "legacy")


def test_roots_are_paths_from_the_file_or_uris(read: Read, tmp_path: Path) -> None:
    entry = only(read(mcp_servers(command="x", roots=["docs", "file:///srv"])))
    assert entry.roots == ((tmp_path / "docs").as_uri(), "file:///srv")


def test_paths_begin_at_the_file(read: Read, tmp_path: Path) -> None:
    found = process(read(mcp_servers(command="./bin/server", cwd="work")))
    assert (found.command, found.cwd) == (str(tmp_path / "bin/server"), tmp_path / "work")


@pytest.mark.parametrize("reference", ["${KEY}", "${env:KEY}", "{env:KEY}", "${KEY:-other}", "${OTHER:-value}"])
def test_references_are_resolved(read: Read, reference: str) -> None:
    assert process(read(mcp_servers(command="x", env={"A": f"<{reference}>"}), KEY="value")).env == {"A": "<value>"}


@pytest.mark.parametrize("text", ["{KEY}", "{env: KEY}", "$KEY", "{}"])
def test_what_is_no_reference_stays_as_it_is(read: Read, text: str) -> None:
    assert process(read(mcp_servers(command="x", args=[text]), KEY="value")).args == (text,)


def test_the_environment_wins_over_the_dotenv_file_beside_mcp_json(read: Read) -> None:
    found = read(mcp_servers(command="x", args=["${A}", "${B}"]), dotenv="A=file\nexport B='file two'\n", A="set")
    assert process(found).args == ("set", "file two")


def test_a_byte_order_mark_is_no_part_of_the_first_name(read: Read) -> None:
    mark = "\N{BYTE ORDER MARK}"
    found = read(f'{mark}{{"mcpServers": {{"one": {{"command": "${{A}}"}}}}}}', dotenv=f"{mark}A=program\n")
    assert process(found).command == "program"


def test_a_dotenv_file_of_its_own(read: Read, tmp_path: Path) -> None:
    (tmp_path / "own.env").write_text("A=1\nB=2\n", "utf-8")
    assert process(read(mcp_servers(command="x", envFile="own.env", env={"B": "3"}))).env == {"A": "1", "B": "3"}


def test_an_unresolvable_secret_disables_the_server_alone(read: Read) -> None:
    found = read({"mcpServers": {"a": {"command": "x", "env": {"K": "${NOT_SET}"}}, "b": {"command": "y"}}})
    broken, fine = found.servers
    assert broken.why_disabled is not None
    assert broken.why_disabled.endswith("the environment variable NOT_SET is not set, nor is it in .env")
    assert fine.why_disabled is None
    assert fine.is_enabled


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, 'neither "command" nor "url" is given'),
        ({"type": "stdio", "url": "http://a"}, '"command" is missing'),
        ({"type": "http"}, '"url" is missing'),
        ({"type": "websocket", "url": "ws://a"}, 'expected stdio, http or sse, got "websocket"'),
        ({"url": "ftp://a"}, "begins with http"),
        ({"command": "x", "args": "one two"}, '"args": expected a list'),
        ({"command": []}, '"command": expected text'),
        ({"command": ["x"], "args": "one two"}, '"args": expected a list'),
        ({"command": "x", "isActive": "perhaps"}, '"is_active": expected true or false'),
        ({"command": "x", "approval": "maybe"}, '"approval": expected one of auto, read_only, ask, deny'),
        ({"command": "x", "timeout_seconds": -1}, '"timeout_seconds": must be greater than 0'),
        ({"command": "x", "env": {"A": "${input:key}"}}, "${input:key} is no environment variable"),
    ],
)
def test_a_server_that_is_wrong_is_disabled_with_the_reason(read: Read, fields: Mapping[str, Any], said: str) -> None:
    assert said in reason(read(mcp_servers(**fields)))


def test_no_reason_and_no_repr_repeats_a_secret(read: Read) -> None:
    assert "geheim" not in reason(read(mcp_servers(command="x", headers="Bearer geheim")))
    found = read(mcp_servers(url="http://a/?key=${K}", headers={"Authorization": "${K}"}), K="geheim")
    assert "geheim" not in repr(found)
    assert "geheim" not in repr(read(mcp_servers(command="x", args=["${K}"], env={"K": "${K}"}), K="geheim"))


def test_an_unknown_field_is_a_warning_that_names_it(read: Read) -> None:
    found = read(mcp_servers(command="x", comand="y", colour="red"))
    assert only(found).is_enabled
    assert found.warnings == (
        'mcp.json: mcpServers["one"]: unknown field "comand" is ignored; did you mean "command"?',
        'mcp.json: mcpServers["one"]: unknown field "colour" is ignored',
    )


def test_a_timeout_in_milliseconds_is_understood_and_said(read: Read) -> None:
    found = read(mcp_servers(command="x", timeout=30000))
    assert only(found).timeout_seconds == 30
    assert "read as milliseconds" in found.warnings[0]


def test_a_name_that_is_used_twice_is_a_warning(read: Read) -> None:
    found = read({"servers": [{"name": "a", "command": "x"}, {"name": "a", "command": "y"}]})
    assert process(found).command == "x"
    assert found.warnings == ('mcp.json: servers[1] is ignored: the name "a" is used twice',)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "line 1"),
        ("[]", "expected keys and values"),
        ("{}", 'it has none of "mcpServers", "servers" and "mcp"'),
        ('{"servers": 3}', '"servers": expected servers'),
        ('{"servers": [{"command": "x"}]}', '"name" is missing'),
        ('{"mcpServers": {}, "auto_register_tools": "no"}', "expected true or false"),
    ],
)
def test_a_file_of_no_known_shape_is_an_error(read: Read, content: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"mcp\.json") as caught:
        read(content)
    assert said in caught.value.message


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_servers(tmp_path / "mcp.json", {})


def test_the_digest_changes_with_the_file_and_with_its_dotenv(read: Read) -> None:
    digests = [
        read(mcp_servers(command="x")).digest,
        read(mcp_servers(command="y")).digest,
        read(mcp_servers(command="y"), dotenv="A=1").digest,
        read(mcp_servers(command="y"), dotenv="A=2").digest,
    ]
    assert len(set(digests)) == 4
    assert read(mcp_servers(command="y")).digest == digests[-1]

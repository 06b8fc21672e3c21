"""``modelhost launch`` with a running host, and programs on the ``PATH`` that write down how they were started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest

from tests.support.serving import ServedHost

KEY = "sk-launch-key"
PROGRAM = f"""#!{sys.executable}
import json, os, signal, sys
files = {{}}
for value in [*sys.argv[1:], *os.environ.values()]:
    if "modelhost-launch-" in value:
        folder = value if os.path.isdir(value) else os.path.dirname(value)
        files |= {{name: open(os.path.join(folder, name)).read() for name in os.listdir(folder)}}
with open(os.environ["RECORD"] + ".part", "w") as record:
    json.dump({{"arguments": sys.argv[1:], "environment": dict(os.environ), "files": files}}, record)
os.rename(os.environ["RECORD"] + ".part", os.environ["RECORD"])
if "--wait" in sys.argv:
    signal.signal(signal.SIGINT, lambda *_: sys.exit(9))
    print("waiting", flush=True)
    signal.pause()
sys.exit(7)
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a program for each agent."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("claude", "codex", "opencode", "crush", "aider", "cn"):
        (folder / name).write_text(PROGRAM, "utf-8")
        (folder / name).chmod(0o755)
    return folder


def environment(tmp_path: Path, programs: Path | None, **variables: str) -> dict[str, str]:
    path = f"{programs}{os.pathsep}{os.environ['PATH']}" if programs else "/nowhere"
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("MODELHOST_", "ANTHROPIC_"))}
    return {**kept, "PATH": path, "HOME": str(tmp_path), "RECORD": str(tmp_path / "record.json"), **variables}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "modelhost", "launch", *arguments]


def launch(environ: Mapping[str, str], tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )


def record(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "record.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def host(hosts: Any) -> ServedHost:
    found: ServedHost = hosts.host(engine="scripted", alias=["agent", "other"], context_length=40_000, api_keys=[KEY])
    return found


def test_claude_gets_the_host_the_model_the_key_and_its_arguments(
    host: ServedHost, tmp_path: Path, programs: Path
) -> None:
    environ = environment(tmp_path, programs, MODELHOST_API_KEY=KEY, ANTHROPIC_API_KEY="sk-of-anthropic")
    ended = launch(environ, tmp_path, "claude", "--url", host.url, "--", "-p", "two words", "--model", "x")
    found = record(tmp_path)
    assert ended.returncode == 7
    assert found["arguments"] == ["-p", "two words", "--model", "x"]
    assert found["environment"]["ANTHROPIC_BASE_URL"] == host.url
    assert found["environment"]["ANTHROPIC_AUTH_TOKEN"] == KEY
    assert found["environment"]["ANTHROPIC_MODEL"] == "agent"
    assert found["environment"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "40000"
    assert "ANTHROPIC_API_KEY" not in found["environment"]
    assert ended.stderr == ""


@pytest.mark.parametrize("agent", ["opencode", "crush", "aider", "continue"])
def test_agents_of_openais_api_get_its_address(host: ServedHost, tmp_path: Path, programs: Path, agent: str) -> None:
    environ = environment(tmp_path, programs, MODELHOST_API_KEY=KEY, MODELHOST_URL=host.url)
    ended = launch(environ, tmp_path, agent, "--model", "other", "--", "go")
    found = record(tmp_path)
    assert (ended.returncode, ended.stderr) == (7, "")
    assert found["arguments"][-1] == "go"
    told = json.dumps([found["arguments"], found["files"], found["environment"].get("OPENCODE_CONFIG_CONTENT")])
    assert f"{host.url}/v1" in told
    assert "agent" in told  # the name of the model: "other" is an alias
    assert KEY not in told
    assert KEY in found["environment"].values()


def test_files_are_gone_when_the_agent_has_ended(host: ServedHost, tmp_path: Path, programs: Path) -> None:
    environ = environment(tmp_path, programs, MODELHOST_API_KEY=KEY)
    launch(environ, tmp_path, "crush", "--url", host.url)
    folder = record(tmp_path)["environment"]["CRUSH_GLOBAL_DATA"]
    assert not Path(folder).exists()


@pytest.mark.parametrize("agent", ["claude", "codex", "opencode", "crush", "aider", "continue"])
def test_the_printed_script_has_no_key_and_starts_nothing(
    host: ServedHost, tmp_path: Path, programs: Path, agent: str
) -> None:
    environ = environment(tmp_path, programs)
    ended = launch(environ, tmp_path, agent, "--url", host.url, "--api-key", KEY, "--print", "--", "go")
    assert ended.returncode == 0
    assert KEY not in ended.stdout + ended.stderr
    assert "MODELHOST_API_KEY" in ended.stdout
    assert not (tmp_path / "record.json").exists()


def test_the_printed_script_starts_the_agent_in_the_same_way(host: ServedHost, tmp_path: Path, programs: Path) -> None:
    environ = environment(tmp_path, programs, MODELHOST_API_KEY=KEY)
    printed = launch(environ, tmp_path, "opencode", "--url", host.url, "--print", "--", "run", "it's").stdout
    by_script = subprocess.run(["sh", "-c", printed], env=environ, cwd=tmp_path, timeout=60, check=False)
    found = record(tmp_path)
    launched = launch(environ, tmp_path, "opencode", "--url", host.url, "--", "run", "it's")
    again = record(tmp_path)
    assert by_script.returncode == launched.returncode == 7
    shells_own = {"_", "OLDPWD", "PWD", "SHLVL"}
    for each in (found, again):
        each["environment"] = {name: text for name, text in each["environment"].items() if name not in shells_own}
    assert found == again


def test_codex_gets_the_host_by_its_options(host: ServedHost, tmp_path: Path, programs: Path) -> None:
    environ = environment(tmp_path, programs, MODELHOST_API_KEY=KEY)
    ended = launch(environ, tmp_path, "codex", "--url", host.url, "--", "exec", "go")
    found = record(tmp_path)
    assert (ended.returncode, ended.stderr) == (7, "")
    assert found["arguments"][-2:] == ["exec", "go"]
    assert f'model_providers.modelhost.base_url="{host.url}/v1"' in found["arguments"]
    assert found["environment"]["MODELHOST_API_KEY"] == KEY


@contextmanager
def older(host: ServedHost) -> Iterator[str]:
    """The address of a host that has the models of ``host``, and none of the newer APIs."""
    models = httpx2.get(f"{host.url}/v1/models", headers={"Authorization": f"Bearer {KEY}"}).content
    missing = json.dumps({"error": {"message": "no", "type": "invalid_request_error", "code": "not_found"}}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = models if self.path == "/v1/models" else missing
            self.send_response(200 if body is models else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as its parent has it)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_codex_is_refused_by_a_host_without_its_api(host: ServedHost, tmp_path: Path, programs: Path) -> None:
    with older(host) as url:
        ended = launch(environment(tmp_path, programs), tmp_path, "codex", "--url", url)
    assert ended.returncode == 1
    assert "Codex needs the API at /v1/responses" in ended.stderr
    assert not (tmp_path / "record.json").exists()


def test_an_agent_that_is_not_installed_says_how_it_is(host: ServedHost, tmp_path: Path) -> None:
    ended = launch(environment(tmp_path, None, MODELHOST_API_KEY=KEY), tmp_path, "claude", "--url", host.url)
    assert ended.returncode == 1
    assert "npm install -g @anthropic-ai/claude-code" in ended.stderr


def test_without_a_host_the_error_says_how_to_start_one(tmp_path: Path, programs: Path) -> None:
    ended = launch(environment(tmp_path, programs), tmp_path, "claude", "--url", "http://127.0.0.1:1")
    assert ended.returncode == 1
    assert "start one with: modelhost serve" in ended.stderr


def test_a_model_that_the_host_does_not_have_is_an_error(host: ServedHost, tmp_path: Path, programs: Path) -> None:
    environ = environment(tmp_path, programs, MODELHOST_API_KEY=KEY)
    ended = launch(environ, tmp_path, "claude", "--url", host.url, "--model", "nobody")
    assert (ended.returncode, ended.stderr) == (1, 'error: the host has no model "nobody"; it has: agent\n')


def test_a_small_context_is_a_warning(scripted_host: ServedHost, tmp_path: Path, programs: Path) -> None:
    ended = launch(environment(tmp_path, programs), tmp_path, "claude", "--url", scripted_host.url)
    assert ended.returncode == 7
    assert "has a context of 4,096 tokens" in ended.stderr
    printed = launch(environment(tmp_path, programs), tmp_path, "claude", "--url", scripted_host.url, "--print")
    assert "has a context of 4,096 tokens" in printed.stderr
    assert "context of" not in printed.stdout


def test_signals_are_left_to_the_agent(host: ServedHost, tmp_path: Path, programs: Path) -> None:
    environ = environment(tmp_path, programs, MODELHOST_API_KEY=KEY)
    with subprocess.Popen(
        command("claude", "--url", host.url, "--", "--wait"),
        env=environ,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"waiting\n"
        os.killpg(started.pid, signal.SIGINT)  # as a terminal sends it, to both
        assert started.wait(30) == 9


def test_a_signal_for_the_command_ends_the_agent_too(host: ServedHost, tmp_path: Path, programs: Path) -> None:
    environ = environment(tmp_path, programs, MODELHOST_API_KEY=KEY)
    with subprocess.Popen(
        command("claude", "--url", host.url, "--", "--wait"), env=environ, cwd=tmp_path, stdout=subprocess.PIPE
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"waiting\n"
        started.terminate()
        assert started.wait(30) == 128 + signal.SIGTERM

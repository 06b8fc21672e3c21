"""The code in README.md and docs/ runs: Python in a process of its own, commands as they are, configurations read."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import httpx2
import pytest
from packaging.requirements import Requirement

from modelhost.config.settings import Settings
from modelhost.config.sources import load
from modelhost.engines import TRAITS
from modelhost.models.registry.registry import read_registry
from modelhost.tools.servers_file import read_servers
from tests.support.forked import COMMAND, ForkedProcess, can_fork
from tests.support.serving import ServedHost

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8000"
SECONDS = 60
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    written = (path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "reference")
    return [ROOT / "README.md", *sorted(written)]


def blocks(language: str) -> list[tuple[str, str]]:
    """Return where the blocks in ``language`` stand, and their text."""
    return [
        (f"{page.relative_to(ROOT)}-{number}", text)
        for page in pages()
        for number, (found, text) in enumerate(BLOCK.findall(page.read_text("utf-8")), start=1)
        if found == language
    ]


def parameters(where_and_what: list[tuple[str, Any]]) -> list[Any]:
    return [pytest.param(what, id=where) for where, what in where_and_what]


def commands() -> list[tuple[str, list[str]]]:
    """Return every command of the shell blocks, on one line and without its comment."""
    lines = [
        (where, shlex.split(line, comments=True))
        for where, text in blocks("sh")
        for line in text.replace("\\\n", " ").splitlines()
    ]
    return [(f"{where}-{' '.join(words)[:60]}", words) for where, words in lines if words]


PYTHON = blocks("python")
SERVING = [block for block in PYTHON if "modelhost.run(" in block[1]]
ENDING = [block for block in PYTHON if block not in SERVING]


@pytest.fixture(scope="module")
def documented_host() -> Iterator[ServedHost]:
    """A host of these tests' own: what the pages say to do makes models, which other tests would meet."""
    with ServedHost() as host:
        yield host


@pytest.fixture
def environment() -> dict[str, str]:
    """That of the tests without settings of modelhost, and with the command that belongs to this Python first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELHOST_")}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"}


def run_command(words: list[str], environment: dict[str, str], cwd: Path, *, stdin: str = "") -> str:
    """As :func:`run`, for ``modelhost``."""
    if not can_fork(environment):
        return run(["modelhost", *words], environment, cwd, stdin=stdin)
    with TemporaryFile() as given, TemporaryFile() as complained:
        given.write(stdin.encode())
        given.seek(0)
        process = ForkedProcess(
            COMMAND, *words, environment=environment, cwd=cwd, stdin=given, stderr=complained.fileno()
        )
        ending = threading.Timer(SECONDS, process.kill)  # one that never ends is a failure, not a test that hangs
        ending.start()
        with process.stdout:
            said = process.stdout.read().decode()
        ending.cancel()
        code = process.wait(SECONDS)
        complained.seek(0)
        assert code == 0, f"modelhost {shlex.join(words)} exited {code}\n{said}\n{complained.read().decode()}"
    return said


def run(argv: list[str], environment: dict[str, str], cwd: Path, *, stdin: str = "") -> str:
    """Run to the end and return the standard output; a failure shows everything that was said."""
    done = subprocess.run(
        argv, env=environment, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{shlex.join(argv)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("code", parameters(ENDING))
def test_a_python_block_runs_and_prints_something(
    code: str, documented_host: ServedHost, environment: dict[str, str], tmp_path: Path
) -> None:
    said = run([sys.executable, "-c", code.replace(ADDRESS, documented_host.url)], environment, tmp_path)
    assert said.strip()


@pytest.mark.promise("candle-vllm.programmatic")
@pytest.mark.parametrize("code", parameters(SERVING))
def test_a_python_block_that_serves_answers_until_it_is_stopped(
    code: str, environment: dict[str, str], tmp_path: Path
) -> None:
    anywhere = re.sub(r'"--p", "\d+"', '"--p", "0", "--log-format", "json"', code)
    with subprocess.Popen(
        [sys.executable, "-c", anywhere], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = next(found[0] for line in process.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
            assert httpx2.get(f"{address}/ready", trust_env=False).status_code == 200
            process.send_signal(signal.SIGTERM)
            process.stdout.read()
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("words", parameters(commands()))
def test_a_command_does_what_the_page_says(
    words: list[str], documented_host: ServedHost, environment: dict[str, str], tmp_path: Path
) -> None:
    words = [word.replace(ADDRESS, documented_host.url) for word in words]
    environment["MODELHOST_URL"] = documented_host.url
    for example in (ROOT / "examples").glob("*.yaml"):
        shutil.copy(example, tmp_path)
    shutil.copy(ROOT / "examples" / "llm-server" / "config.json", tmp_path)
    match words:
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        case ["curl", *options]:
            assert request(options, environment, tmp_path)
        case ["modelhost", "serve", *options]:
            # It does not end by itself; `config show` takes the same arguments and says what would be served.
            run_command(["config", "show", *options], environment, tmp_path)
        case ["modelhost", option, *options] if option.startswith("--") and option not in ("--help", "--version"):
            served = [word for word in (option, *options) if word != "serve"]
            run_command(["config", "show", *served], environment, tmp_path)
        case ["modelhost", "engines", "install", engine, *options]:  # the tests of the engines run it
            installation = TRAITS[engine].installation
            is_build = installation.builds is not None and options[:1] in ([], ["--build"])
            assert installation.environment is not None or is_build
        case ["modelhost", *arguments]:
            run_command(arguments, environment, tmp_path, stdin="/quit\n")
        case ["pip", "install", requirement]:
            wanted = Requirement(requirement)
            assert wanted.name == "modelhost"
            assert wanted.extras <= set(metadata("modelhost").get_all("Provides-Extra") or ())
        case _:
            pytest.fail(f"nobody checks this command: {shlex.join(words)}")


def request(options: list[str], environment: dict[str, str], cwd: Path) -> str:
    """Do what ``curl OPTIONS`` does: by curl itself if it is here."""
    if shutil.which("curl"):
        return run(["curl", "--silent", "--show-error", "--fail-with-body", *options], environment, cwd)
    given = list(itertools.pairwise(options))
    (url,) = (word for word in options if word.startswith("http"))
    headers = dict(value.split(": ", 1) for option, value in given if option == "-H")
    body = next((value for option, value in given if option == "-d"), None)
    method = "GET" if body is None else "POST"
    answer = httpx2.request(method, url, content=body, headers=headers, trust_env=False, timeout=SECONDS)
    answer.raise_for_status()
    return answer.text


def is_registry(text: str) -> bool:
    """Whether it is a registry of models, and not the settings of a host."""
    return re.search("^models:", text, flags=re.MULTILINE) is not None


@pytest.mark.parametrize("text", parameters(blocks("yaml")))
def test_a_configuration_in_a_page_loads(text: str, tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(text, "utf-8")
    if is_registry(text):
        read_registry(file, Settings())
    else:
        load({}, config_path=file, environ={}, cwd=tmp_path)


MCP = [block for block in blocks("json") if re.search(r'"(mcpServers|servers)":', block[1])]


@pytest.mark.parametrize("text", parameters(MCP))
def test_a_file_of_mcp_servers_in_a_page_is_understood(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(text, "utf-8")
    found = read_servers(file, {"TRACKER_TOKEN": "t", "BRAVE_API_KEY": "b"})
    assert found.servers
    assert [server.why_disabled for server in found.servers if server.why_disabled] == []
    assert found.warnings == ()


MCP_CLIENTS = {"claude-desktop.json", "crush.json", "fluidmcp.json"}  # tests/unit/mcp_servers reads them
EXAMPLES = [
    pytest.param(path, id=path.name)
    for path in sorted((ROOT / "examples").rglob("*.*"))
    if path.name not in MCP_CLIENTS
]


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_configuration_loads(path: Path, tmp_path: Path) -> None:
    if is_registry(path.read_text("utf-8")):
        assert read_registry(path, Settings()).entries
    else:
        assert load({}, config_path=path, environ={}, cwd=tmp_path).warnings == ()


def test_the_commented_registry_holds_nothing_that_has_no_effect() -> None:
    (warning,) = read_registry(ROOT / "examples" / "models.yaml", Settings()).warnings
    assert "large.gguf yet" in warning  # it is nobody's file


def test_every_page_has_only_blocks_that_somebody_checks_or_that_are_plain_text() -> None:
    languages = {language for page in pages() for language, _ in BLOCK.findall(page.read_text("utf-8"))}
    assert languages <= {"python", "sh", "yaml", "json", "text"}


def test_the_full_example_holds_every_setting_and_loads_with_all_of_them(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "modelhost-full.yaml").read_text("utf-8")
    everything = tmp_path / "modelhost.yaml"
    everything.write_text(re.sub(r"^# (\w+:)", r"\1", text, flags=re.MULTILINE), "utf-8")
    effective = load({}, config_path=everything, environ={}, cwd=tmp_path)
    assert [key for key, origin in effective.origins.items() if origin.kind == "default"] == []

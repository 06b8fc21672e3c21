"""The way in on a fresh machine: which Python is taken, and what is said when there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with the few commands that every machine has, and no Python."""
    for command in ("sh", "env"):
        (tmp_path / command).symlink_to(shutil.which(command) or pytest.skip(f"no {command} here"))
    return tmp_path


def give(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def choose(folder: Path, *named: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / ".ci" / "python"), *named],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_first_python_that_is_new_enough_is_taken(bare: Path) -> None:
    give(bare, "python3", "exit 1")
    (bare / "python3.13").symlink_to(sys.executable)
    assert choose(bare).stdout == "python3.13\n"


def test_without_a_python_it_says_what_to_install(bare: Path) -> None:
    done = choose(bare)
    assert done.returncode == 1
    assert "here is no Python" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr


@pytest.mark.promise("vllm-mcp.python")
def test_a_python_that_is_too_old_is_named_with_its_version(bare: Path) -> None:
    give(bare, "python3", 'case "$1" in --version) echo "Python 3.9.2" ;; *) exit 1 ;; esac')
    assert "here is Python 3.9.2" in choose(bare).stderr


def test_a_python_without_venv_is_named_with_the_package_that_brings_it(bare: Path) -> None:
    give(bare, "python3", 'case "$2" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac')
    done = choose(bare)
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr


def test_a_named_python_that_is_not_there_is_an_error(bare: Path) -> None:
    assert "python9 is not there" in choose(bare, "python9").stderr


@pytest.mark.promise(
    "mistralrs.make.help",
    "mistralrs.make.check",
    "mistralrs.make.test",
    "mistralrs.make.others",
    "mistralrs.make.parts",
    "mistralrs.make.run",
)
def test_make_lists_every_target_that_a_person_would_use() -> None:
    text = (ROOT / "Makefile").read_text()
    documented = set(re.findall(r"^([\w-]+):.*##", text, flags=re.MULTILINE))
    assert documented == set(re.findall(r"^\.PHONY: ([\w-]+)$", text, flags=re.MULTILINE))
    assert {"run", "test", "check", "bench", "nano", "docs", "format", "clean", "help"} <= documented


def test_make_groups_its_targets() -> None:
    listed = make("help")
    groups = dict(block.split("\n", 1) for block in listed.split("\n\n")[1:])
    assert list(groups) == ["Run", "Test", "Check", "Build", "Measure"]
    assert "make run-server" in groups["Run"]
    assert "make lint-fix" in groups["Check"]
    documented = re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert sorted(re.findall(r"^  make ([\w-]+)", listed, flags=re.MULTILINE)) == sorted(documented)


@pytest.mark.promise("mistralrs.make.others", "mistralrs.make.parts", "mistralrs.make.run", "mistralrs.make.run-tui")
@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["build"], "hatchling build"),
        (["dev"], "Ready: .venv/bin/modelhost"),
        (["fmt"], "ruff format ."),
        (["fmt-check"], "ruff format --check ."),
        (["lint"], "ruff check ."),
        (["lint-fix"], "ruff check --fix ."),
        (["ci"], ".ci/run"),
        (["test-core", "ARGS=-x"], "tests/unit/models"),
        (["test-server", "ARGS=-x"], "tests/integration/api"),
        (["run-tui"], "modelhost chat"),
        (["run-tui", "MODEL=a b.gguf"], 'modelhost chat --model "a b.gguf"'),
        (["run-server"], "modelhost serve  --port 8080"),
        (["run-server", "MODEL=/a/b.gguf", "PORT=0", "ARGS=--alias c"], 'serve "/a/b.gguf" --port 0 --alias c'),
        (["run-with-mcp", "MODEL_DIR=/a", "MODEL_FILE=b.gguf", "MCP_CONFIG=c.json"], 'serve "/a/b.gguf" --port 8080'),
        (["run-with-mcp", "MODEL_DIR=/a", "MCP_CONFIG=c.json"], 'serve "/a" --port 8080'),
        (["run-with-mcp", "MODEL_FILE=b.gguf", "MCP_CONFIG=c.json"], 'serve "./b.gguf" --port 8080'),
    ],
    ids=" ".join,
)
def test_a_target_runs_its_command(words: list[str], command: str) -> None:
    assert command in make("--dry-run", *words)


def test_the_folders_of_the_tests_by_part_are_there() -> None:
    named = re.findall(r"tests/(?:unit|integration)/\w+", make("--dry-run", "test-core", "test-server"))
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).is_dir()] == []


def test_a_host_with_tools_needs_a_file_of_servers(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = run_make(tmp_path, "run-with-mcp", "MCP_CONFIG=", "--old-file", ".venv/.runs")
    assert done.returncode != 0
    assert "MCP_CONFIG=FILE" in done.stderr


def make(*words: str) -> str:
    done = run_make(ROOT, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make") or pytest.skip("no make here")
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        [program, "-C", str(folder), "--no-print-directory", *words],
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.promise("mistralrs.make.others")
def test_the_scripts_can_be_run() -> None:
    assert all(os.access(ROOT / ".ci" / name, os.X_OK) for name in ("run", "python"))

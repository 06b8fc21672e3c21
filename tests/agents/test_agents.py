"""Coding agents that finish tasks with a host, started by ``modelhost launch``; run by ``make test-agents``.

The scripted engine plays the model: it makes calls of the agent's own tools, which really run, and then answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.serving import ServedHost

FOLDER = os.environ.get("MODELHOST_TEST_AGENTS")
SECONDS: Final = 300
CONTEXT: Final = 65_536
PDF: Final = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Size 4/Root 1 0 R>>\n%%EOF\n"
)
CLAUDE: Final = ("claude", "-p", "please make the file", "--allowedTools", "Write")
OPENCODE: Final = ("opencode", "run", "please make the file")
CODEX: Final = ("codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
"""Its sandbox needs more rights than a container has."""
CONTINUE: Final = ("continue", "-p", "please make the file", "--auto")
Start = Callable[..., ServedHost]

pytestmark = pytest.mark.skipif(FOLDER is None, reason="needs the agents of `make test-agents`")


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def write(name: str, field: str, path: Path) -> dict[str, Any]:
    """A call of an agent's tool ``name``, which writes a file; ``field`` is what it calls the path."""
    return call(name, **{field: str(path), "content": "made by the agent\n"})


@pytest.fixture
def started(start_host: Start, tmp_path: Path) -> Callable[..., ServedHost]:
    """Starts a host with a script."""

    def start(*rules: dict[str, Any], **settings: Any) -> ServedHost:
        script = tmp_path / "script.json"
        script.write_text(json.dumps(rules), "utf-8")
        return start_host(
            engine="scripted",
            alias=["agent"],
            context_length=CONTEXT,
            engine_options={"script": str(script)},
            **settings,
        )

    return start


def launch(host: ServedHost, tmp_path: Path, agent: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an agent in ``tmp_path/work``, without what the person who runs the tests has configured."""
    foreign = re.compile(r"(ANTHROPIC|CLAUDE|MODELHOST|OPENAI|OPENCODE|XDG)|.*_proxy$", re.IGNORECASE)
    kept = {name: text for name, text in os.environ.items() if not foreign.match(name)}
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "modelhost", "launch", agent, "--url", host.url, "--", *arguments],
        # opencode takes its directory from PWD.
        env={**kept, "HOME": str(home), "PWD": str(work), "PATH": f"{FOLDER}{os.pathsep}{os.environ['PATH']}"},
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def said(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_agents_are_installed() -> None:
    assert {"claude", "cn", "codex", "opencode"} <= {path.name for path in Path(FOLDER or "").iterdir()}


@pytest.mark.parametrize(
    ("agent", "tool", "field"),
    [(CLAUDE, "Write", "file_path"), (OPENCODE, "write", "filePath"), (CONTINUE, "Write", "filepath")],
    ids=["claude", "opencode", "continue"],
)
def test_an_agent_makes_a_file_and_says_so(
    agent: tuple[str, ...], tool: str, field: str, started: Start, tmp_path: Path
) -> None:
    file = tmp_path / "work" / "out.txt"
    host = started({"match": "make the file", "tool_calls": [write(tool, field, file)], "reply": "The file is there."})
    assert "The file is there." in said(launch(host, tmp_path, *agent))
    assert file.read_text("utf-8") == "made by the agent\n"


def test_codex_works_in_steps_and_continues_with_another_host(started: Start, tmp_path: Path) -> None:
    steps = {
        "match": "make the file",
        "reasoning": "Let me see.",
        "tool_calls": [call("exec_command", cmd="echo step {turn} >> out.txt")],
        "tool_turns": 2,
        "reply": "The file is there.",
    }
    rules = (steps, {"match": "and now", "reply": "Going on."})
    first = started(*rules)
    assert "The file is there." in said(launch(first, tmp_path, *CODEX, "make the file"))
    assert (tmp_path / "work" / "out.txt").read_text("utf-8") == "step 1\nstep 2\n"
    assert [line["status"] for line in first.log_events("request") if line["operation"] == "responses"] == [200] * 3
    # The reasoning that it sends is sealed, with a key that hosts of one database share.
    second = started(*rules, data_dir=first.settings["data_dir"])
    assert "Going on." in said(launch(second, tmp_path, *CODEX, "resume", "--last", "and now"))


def test_claude_code_runs_a_command_and_asks_a_helper(started: Start, tmp_path: Path) -> None:
    helper = call("Agent", description="Run it", prompt="run the command", subagent_type="general-purpose")
    host = started(
        {
            "match": "run the command",
            "tool_calls": [call("Bash", command="echo done > run.txt", description="Writes a file")],
            "reply": "It ran.",
        },
        {"match": "ask a helper", "tool_calls": [helper], "reply": "The helper is done."},
    )
    answer = said(launch(host, tmp_path, "claude", "-p", "ask a helper", "--allowedTools", "Agent", "Bash"))
    assert answer.strip() == "The helper is done."
    assert (tmp_path / "work" / "run.txt").read_text("utf-8") == "done\n"


def test_claude_code_continues_after_a_pdf(started: Start, tmp_path: Path) -> None:
    paper = tmp_path / "paper.pdf"
    paper.write_bytes(PDF)
    host = started(
        {"match": "read the paper", "tool_calls": [call("Read", file_path=str(paper))], "reply": "Read."},
        {"match": "pdftotext", "reply": "I cannot read that."},
        {"match": "and now", "reply": "Going on."},
    )
    read = launch(host, tmp_path, "claude", "-p", "read the paper", "--allowedTools", "Read")
    assert said(read).strip() == "I cannot read that."
    assert said(launch(host, tmp_path, "claude", "-c", "-p", "and now")).strip() == "Going on."


def test_claude_code_continues_a_conversation_with_another_host(started: Start, tmp_path: Path) -> None:
    rules = (
        {"match": "think about it", "reasoning": "Let me think.", "reply": "I thought."},
        {"match": "and now", "reasoning": "Again.", "reply": "Going on."},
    )
    assert said(launch(started(*rules), tmp_path, "claude", "-p", "think about it")).strip() == "I thought."
    other = started(*rules)  # whose key is another one: it refuses the thinking of the first
    assert said(launch(other, tmp_path, "claude", "-c", "-p", "and now")).strip() == "Going on."
    refused = [line for line in other.log_events("request") if line["status"] == 400]
    assert len(refused) == 1


def test_claude_code_says_that_a_prompt_is_too_long(nano_host: ServedHost, tmp_path: Path) -> None:
    ended = launch(nano_host, tmp_path, "claude", "-p", "Hello!")
    assert ended.returncode == 1
    assert "Prompt is too long" in ended.stdout
    assert "has a context of 2,048 tokens" in ended.stderr

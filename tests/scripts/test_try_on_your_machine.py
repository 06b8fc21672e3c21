"""The script with which users check a model on their machine, and report what they saw."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.try_model import redacted

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "try_on_your_machine.sh"
SECONDS = 500
PRIVATE = "hf_abcdefghijklmnop"
CHECKS = (
    *("Load", "First answer", "Next answer", "Long prompt", "4 answers at once"),
    *("Tool call, `required`", "JSON schema", "Embeddings", "Unload"),
)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELHOST_", "VLLM_"))}
    environment = {
        **kept,
        "MODELHOST": str(Path(sys.executable).with_name("modelhost")),
        "HOME": str(cwd),
        "HF_TOKEN": PRIVATE,
    }
    return subprocess.run(
        [str(SCRIPT), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def results_in(report: str) -> dict[str, str]:
    return dict(re.findall(r"^\| (.+?) \| (pass|fail|skipped|info) \|", report, flags=re.MULTILINE))


def test_help_names_every_option(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    handled = re.findall(r"^ +(-\w) \| (--[a-z]+)\)$", SCRIPT.read_text("utf-8"), flags=re.MULTILINE)
    assert [long for short, long in handled if f"{short}, {long}" not in done.stdout] == []
    assert len(handled) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--colour"], "unknown option --colour"),
        (["one", "two"], "one model at a time"),
        (["--output"], "--output needs a value"),
        (["--timeout", "soon"], "--timeout takes a number of seconds"),
    ],
)
def test_a_wrong_command_line_is_named_before_anything_starts(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_the_bundled_model_passes_every_check_and_the_report_holds_no_secret(tmp_path: Path) -> None:
    done = run("--output", "report.md", "--", "--threads", "1", "--remote-api-key", "sesame-sesame", cwd=tmp_path)
    report = (tmp_path / "report.md").read_text("utf-8")
    assert (done.returncode, done.stdout) == (0, "report.md\n"), report
    results = results_in(report)
    assert {name: results.get(name) for name in CHECKS} == dict.fromkeys(CHECKS, "pass")
    assert re.findall(r"^## (.+)$", report, flags=re.MULTILINE) == ["Engines", "Checks", "Memory, MiB", "Log"]
    assert '"event": "engine_chosen"' in report
    assert PRIVATE not in report
    assert "sesame" not in report
    assert f"{tmp_path}/" not in report


def test_a_model_that_does_not_load_is_reported_with_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and no more")
    done = run("broken.gguf", "--output", "report.md", cwd=tmp_path)
    report = (tmp_path / "report.md").read_text("utf-8")
    assert done.returncode == 1
    assert results_in(report) == {"Load": "fail"}
    assert "broken.gguf cannot be served" in report


def test_secrets_are_redacted() -> None:
    environment = {"HF_TOKEN": "hf_12345678", "SHORT_KEY": "abc", "HOME": "/home/anna", "SHELL": "/bin/bash"}
    text = "hf_12345678 abc /bin/bash /home/anna/models http://anna:pw@host/v1 --api-key=k1 --remote-api-key k2 x"
    assert redacted(text, environment) == (
        "[redacted] abc /bin/bash ~/models http://[redacted]@host/v1 --api-key=[redacted] --remote-api-key [redacted] x"
    )


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

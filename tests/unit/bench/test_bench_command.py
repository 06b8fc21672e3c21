"""The command as it is typed, with a real host. What it measures here is of no interest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main


def result_in(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    result: dict[str, Any] = json.loads(path.read_text())
    return result


@pytest.mark.promise("mistralrs.bench")
def test_bare_worker_and_host_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--only", "scripted", "--load", "first token", "--output", str(tmp_path)])
    result = result_in(tmp_path)
    assert result["problems"] == []
    (row,) = result["rows"]
    for side in ("bare", "host"):
        assert [run["seen"]["errors"] for run in row[side]["rounds"]] == [{}]
    assert result["machine"]["cores"] > 0
    assert "added to the first token" in capsys.readouterr().out


def test_missing_model_is_a_line_in_the_report_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--only", "nano", "--model", str(tmp_path / "none.gguf"), "--output", str(tmp_path / "out")])
    assert result_in(tmp_path / "out")["rows"] == []
    assert "llamacpp: " in capsys.readouterr().out

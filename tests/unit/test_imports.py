"""Imports that are kept quick and small."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from modelhost.lazy import without

KEPT_AWAY = "import modelhost.logs, sys; print({'rich', 'pygments', 'greenlet'} & sys.modules.keys())"
FLAGS_ALONE = (
    "import modelhost.cli.serve.command, modelhost.http.server, sys; print({'yaml', 'dotenv'} & sys.modules.keys())"
)
STILL_THERE = "import modelhost.logs, rich.traceback, greenlet; print('both')"


def test_package_that_is_kept_away_is_not_found_meanwhile_and_found_again_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with without("wave"), pytest.raises(ImportError):
        import_module("wave")
    found = import_module("wave")
    with without("wave"):
        assert import_module("wave") is found


@pytest.mark.parametrize(("code", "printed"), [(KEPT_AWAY, "set()"), (STILL_THERE, "both")])
def test_logs_bring_no_formatter_of_tracebacks_that_they_do_not_use(code: str, printed: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == printed


def test_a_start_by_flags_alone_does_without_the_libraries_of_files() -> None:
    done = subprocess.run([sys.executable, "-c", FLAGS_ALONE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

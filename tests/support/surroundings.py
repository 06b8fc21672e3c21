"""Commands without what the machine that runs the tests brings along."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelhost.cli.talk import options
from modelhost.config import environment


def leave_surroundings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have commands run in ``folder``, without configuration, variables or host of this machine."""
    for name in environment.current():
        if name.startswith("MODELHOST_") or name in environment.OTHER_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(options, "DEFAULT_URL", "http://127.0.0.1:9")  # the discard port: nothing answers

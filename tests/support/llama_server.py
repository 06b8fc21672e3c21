"""A real ``llama-server``, where there is one: that of ``LLAMA_SERVER``, or what ``make llama-server`` has built."""

from __future__ import annotations

import os
from pathlib import Path

from modelhost.config.environment import SERVER_VARIABLE

OURS = "LLAMA_SERVER_OF_TESTS"  # not MODELHOST_...: modelhost refuses such variables if a setting has a similar name
BUILT = Path(__file__).parents[2] / ".venv-llama-server" / "llama-server"
NONE_HERE = f"there is no llama-server: make llama-server builds one, or {SERVER_VARIABLE} names one"


def set_aside() -> None:
    """Keep the variable from the hosts of all tests, which would run every model in it; processes inherit this."""
    if named := os.environ.pop(SERVER_VARIABLE, ""):
        os.environ[OURS] = named


def llama_server() -> str | None:
    """Return the path of one; ``None`` if there is none."""
    return os.environ.get(OURS) or (str(BUILT) if BUILT.exists() else None)

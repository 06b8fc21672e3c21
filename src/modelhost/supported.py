"""The supported platforms, checked before anything is imported that fails on others.

Too old versions of Python import this file, so it only uses syntax that they understand.
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST_PYTHON = (3, 11)
WINDOWS = "win32"
WAY_OUT = "https://learn.microsoft.com/windows/wsl/install"


def unsupported_reason(platform: str) -> str | None:
    """Return why modelhost does not run on ``platform`` (a ``sys.platform``), with a way out; ``None``: it does."""
    if platform != WINDOWS:
        return None
    return (
        "modelhost does not run on Windows itself, but under WSL, Windows' subsystem for Linux: `wsl --install` in "
        f"PowerShell ({WAY_OUT}), then install and start modelhost in the Linux shell that `wsl` opens."
    )


def unsupported_python(python: Sequence[int]) -> str | None:
    """Return why modelhost does not run with this version of Python, with a way out; ``None``: it does."""
    if tuple(python[:2]) >= LEAST_PYTHON:
        return None
    return (
        f"modelhost needs Python {LEAST_PYTHON[0]}.{LEAST_PYTHON[1]} or newer, and this is {python[0]}.{python[1]}: "
        "make its virtual environment with a newer one, by `python3.12 -m venv .venv`, or by `uv venv --python 3.12`, "
        "which brings it."
    )

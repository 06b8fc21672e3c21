"""Where modelhost runs, said before anything is imported that fails elsewhere.

Pythons that are too old read this file, so it keeps to what they understand.
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST_PYTHON = (3, 11)
WINDOWS = "win32"
WAY_OUT = "https://learn.microsoft.com/windows/wsl/install"


def unsupported_reason(platform: str) -> str | None:
    """Why modelhost does not run on ``platform``, as ``sys.platform`` names it, and the way out; ``None``: it does."""
    if platform != WINDOWS:
        return None
    return (
        "modelhost does not run on Windows itself, but under WSL, Windows' subsystem for Linux: `wsl --install` in "
        f"PowerShell ({WAY_OUT}), then install and start modelhost in the Linux shell that `wsl` opens."
    )


def unsupported_python(python: Sequence[int]) -> str | None:
    """Why modelhost does not run with this version of Python, and the way out; ``None``: it does."""
    if tuple(python[:2]) >= LEAST_PYTHON:
        return None
    return (
        f"modelhost needs Python {LEAST_PYTHON[0]}.{LEAST_PYTHON[1]} or newer, and this is {python[0]}.{python[1]}: "
        "make its virtual environment with a newer one, by `python3.12 -m venv .venv`, or by `uv venv --python 3.12`, "
        "which brings it."
    )

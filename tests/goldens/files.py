"""The recorded files, and what is said when they are not what is seen."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "recorded"
ADVICE: Final = "If that is what was meant: run `make goldens`, and review the diff of tests/goldens/recorded."
MOST_LINES: Final = 200

Recorded = Mapping[str, str]
"""Texts by the names of their files below :data:`FOLDER`."""


def read(name: str) -> str:
    """The recorded file ``name``; empty if there is none."""
    path = FOLDER / name
    return path.read_text("utf-8") if path.exists() else ""


def write(recorded: Recorded) -> None:
    """Keep ``recorded``."""
    for name, text in recorded.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def difference(recorded: Recorded) -> str:
    """What of ``recorded`` is not as in the files, as a unified diff with advice; empty if nothing."""
    lines: list[str] = []
    for name, text in recorded.items():
        lines += difflib.unified_diff(
            read(name).splitlines(), text.splitlines(), f"recorded/{name}", f"seen now: {name}", lineterm=""
        )
    if not lines:
        return ""
    shown = lines[:MOST_LINES]
    more = [f"... and {len(lines) - len(shown)} lines more"] if len(lines) > len(shown) else []
    return "\n".join(["what clients see has changed:", *shown, *more, ADVICE])

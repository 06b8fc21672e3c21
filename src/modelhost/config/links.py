"""Links that lead nowhere: a listing shows them, and whoever opens them is told that there is no file."""

from __future__ import annotations

from pathlib import Path


def leads_nowhere(path: Path) -> str | None:
    """Return which link makes that there is nothing at ``path``, as the end of a sentence; ``None`` if none does.

    It is ``path`` itself, or a folder on the way to it.
    """
    try:
        for each in (path, *path.parents):
            if each.is_symlink() and not each.exists():
                what = "it" if each == path else str(each)
                return f"{what} is a link that leads nowhere (to {each.readlink()})"
    except OSError:  # a folder that may not be looked into: whoever reads it says so
        pass
    return None


def absence(path: Path) -> str:
    """Say that there is nothing at ``path``, as the end of a sentence."""
    return leads_nowhere(path) or "there is no such file"


def is_named(path: Path) -> bool:
    """Whether there is a file at ``path``, or a link that should lead to one: its reader says what is wrong with it."""
    return path.is_file() or (path.is_symlink() and not path.exists())

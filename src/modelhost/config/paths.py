"""Paths that people write: the ``~`` at their beginning, and links that lead nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelhost.errors import ConfigError

HOME_MARK: Final = "~"


def expand_home(path: str | Path) -> Path:
    """Return ``path``, which is to be read, with its ``~`` resolved.

    That of a user who is not known here stays: there is nothing at such a path, and whoever reads it says so.

    Raises:
        ConfigError: it is below the home directory of this user, who has none.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError as error:
        if path.parts[0] != HOME_MARK:
            return path
        raise ConfigError(f"T{missing_home(path)[1:]}.") from error


def missing_home(path: str | Path) -> str:
    """Say that the ``~`` of ``path`` stands for nothing, as the end of a sentence."""
    who = Path(path).parts[0]
    way_out = "set HOME, or write the whole path" if who == HOME_MARK else "write the whole path"
    return f"there is no home directory for the {who} in {path}: {way_out}"


def broken_link(path: Path) -> str | None:
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


def why_missing(path: Path) -> str:
    """Say that there is nothing at ``path``, as the end of a sentence."""
    return broken_link(path) or "there is no such file"


def is_file_or_link(path: Path) -> bool:
    """Whether there is a file at ``path``, or a link that should lead to one: its reader says what is wrong with it."""
    return path.is_file() or (path.is_symlink() and not path.exists())

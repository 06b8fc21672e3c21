"""Paths as users write them: a leading ``~``, and broken links."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelhost.errors import ConfigError

HOME_MARK: Final = "~"


def expand_home(path: str | Path) -> Path:
    """Return ``path`` with a leading ``~`` replaced by the home directory.

    The ``~name`` of an unknown user stays; reading such a path fails with a clear message.

    Raises:
        ConfigError: the path begins with ``~``, and this user has no home directory.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError as error:
        if path.parts[0] != HOME_MARK:
            return path
        raise ConfigError(f"T{missing_home(path)[1:]}.") from error


def missing_home(path: str | Path) -> str:
    """Return the end of a sentence which says that the ``~`` of ``path`` has no home directory."""
    who = Path(path).parts[0]
    way_out = "set HOME, or write the whole path" if who == HOME_MARK else "write the whole path"
    return f"there is no home directory for the {who} in {path}: {way_out}"


def broken_link(path: Path) -> str | None:
    """Return which broken link keeps ``path`` from existing, as the end of a sentence; ``None`` if none does.

    It is ``path`` itself or one of its parent folders.
    """
    try:
        for each in (path, *path.parents):
            if each.is_symlink() and not each.exists():
                what = "it" if each == path else str(each)
                return f"{what} is a link that leads nowhere (to {each.readlink()})"
    except OSError:  # a folder without permission, which its reader reports
        pass
    return None


def why_missing(path: Path) -> str:
    """Return why there is no file at ``path``, as the end of a sentence."""
    return broken_link(path) or "there is no such file"


def is_file_or_link(path: Path) -> bool:
    """Whether there is a file at ``path``, or a broken link, which its reader reports."""
    return path.is_file() or (path.is_symlink() and not path.exists())

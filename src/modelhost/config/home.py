"""The ``~`` at the beginning of a path."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelhost.errors import ConfigError

OWN: Final = "~"


def at_home(path: str | Path) -> Path:
    """Return ``path``, which is to be read, with its ``~`` resolved.

    That of a user who is not known here stays: there is nothing at such a path, and whoever reads it says so.

    Raises:
        ConfigError: it is below the home directory of this user, who has none.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError as error:
        if path.parts[0] != OWN:
            return path
        raise ConfigError(f"T{no_home(path)[1:]}.") from error


def no_home(path: str | Path) -> str:
    """Say that the ``~`` of ``path`` stands for nothing, as the end of a sentence."""
    who = Path(path).parts[0]
    way_out = "set HOME, or write the whole path" if who == OWN else "write the whole path"
    return f"there is no home directory for the {who} in {path}: {way_out}"

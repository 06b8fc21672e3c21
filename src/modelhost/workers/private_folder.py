"""A folder in which hosts keep what they share with their workers, and which only this user can enter.

The names of files in it begin with the process id of their host.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil


def private_folder() -> Path | None:
    """Return the folder, made if need be, or ``None`` where somebody else has taken its name.

    What killed hosts left behind in it is removed.
    """
    folder = Path(tempfile.gettempdir()) / f"modelhost-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _is_private(folder):
        return None
    _sweep(folder)
    return folder


def _is_private(folder: Path) -> bool:
    """The temporary folder is everybody's: somebody else may have made this one first."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        owner = path.name.partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            path.unlink(missing_ok=True)

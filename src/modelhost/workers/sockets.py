"""Where workers listen: Unix sockets in a folder that only this user can enter.

Connecting to one costs less than to a port on loopback, and nobody else on the machine can.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

LONGEST_PATH = 100  # bytes; sun_path holds 108 on Linux and 104 on macOS


def new_socket_path() -> Path | None:
    """Return a path on which a worker can listen, or ``None`` where the temporary folder's name is too long for one.

    Sockets that killed hosts left behind are removed.
    """
    folder = Path(tempfile.gettempdir()) / f"modelhost-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"
    if len(os.fsencode(path)) > LONGEST_PATH or not _is_private(folder):
        return None
    _sweep(folder)
    return path


def remove_socket(path: str) -> None:
    """Remove the socket of a worker that has ended; it may be gone already."""
    Path(path).unlink(missing_ok=True)


def _is_private(folder: Path) -> bool:
    """The temporary folder is everybody's: somebody else may have made this one first."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700


def _sweep(folder: Path) -> None:
    for path in folder.glob("*.sock"):
        owner = path.name.partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            path.unlink(missing_ok=True)

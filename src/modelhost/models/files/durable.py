"""Files that are complete or not there, even after a crash or a loss of power. Everything here blocks."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final
from uuid import uuid4

from modelhost.config.directories import make_private
from modelhost.errors import DiskFull

PART: Final = ".part"
"""The suffix of a file that is being written."""
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, in a folder that is created if necessary.

    Raises:
        DiskFull: it does not fit on the disk.
        OSError: it cannot be written for another reason.
    """
    beside = path.with_name(f".{path.name}-{uuid4().hex[:8]}{PART}")
    try:
        make_private(path.parent)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise translated(error, path.parent, len(content)) from error


def sync_directory(folder: Path) -> None:
    """Have the names in ``folder`` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def translated(error: OSError, folder: Path, needed_bytes: int) -> OSError | DiskFull:
    """Return ``error``, which writing ``needed_bytes`` into ``folder`` has raised, as its callers raise it."""
    return disk_full(folder, needed_bytes) if error.errno in NO_ROOM else error


def disk_full(folder: Path, needed_bytes: int, free_bytes: int | None = None) -> DiskFull:
    """Return the error that ``needed_bytes`` do not fit on the disk of ``folder``."""
    there = "" if free_bytes is None else f"; {free_bytes / 1e6:,.1f} MB are free"
    return DiskFull(
        f"{needed_bytes / 1e6:,.1f} MB do not fit on the disk of {folder}{there}. Make room there, or have the host "
        "started with another --data-dir.",
        retry_after_seconds=60,
        needed_bytes=needed_bytes,
        free_bytes=free_bytes,
    )

"""The folder in which a host keeps what it shares with its workers, sockets among them; only this user can enter it.

Each process has its own folder, beside those of the user's other hosts, and holds a lock in it while it lives: a
process id would mean nothing to a host in another container that shares the temporary folder.

Workers listen on Unix sockets there: connecting to one costs less than to a port on loopback, and nobody else on the
machine can.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOCK: Final = "lock"
NAME_BYTES: Final = 4  # short, since the path of a socket has a limit


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder of this process, and the descriptor that holds the lock in it."""

    path: Path
    lock: int

    @property
    def is_there(self) -> bool:
        return _is_same_file(self.lock, self.path / LOCK)


_MAKING: Final = threading.Lock()
_OWN: Final[dict[Path, _Folder]] = {}
"""The folder of this process by the shared one: the temporary folder may change."""


def private_folder() -> Path | None:
    """Return the folder of this process, created if it does not exist; ``None`` if there can be none: another user has
    taken the name of the folder that the user's hosts share, or there is no temporary folder.

    Folders that killed hosts left behind are removed.
    """
    try:
        shared = Path(tempfile.gettempdir()) / f"modelhost-{os.getuid()}"
        with suppress(FileExistsError):
            shared.mkdir(mode=0o700)
        if not _is_private(shared):
            return None
        with _MAKING:
            return _own(shared).path
    except OSError:
        return None


def _own(shared: Path) -> _Folder:
    before = _OWN.get(shared)
    if before is not None and before.is_there:
        return before
    if before is not None:
        os.close(before.lock)
    _sweep(shared)
    made = _OWN[shared] = _made(shared)
    atexit.register(_remove, made.path, os.getpid())
    return made


def _remove(path: Path, owner: int) -> None:
    """Remove the folder, unless a fork of its owner ends."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


def _is_private(folder: Path) -> bool:
    """Whether only this user can enter ``folder``: another user may have created it in the temporary folder."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700


def _made(shared: Path) -> _Folder:
    """Create and lock a folder; try again if another host removes it in between."""
    while True:
        path = shared / secrets.token_hex(NAME_BYTES)
        try:
            path.mkdir(mode=0o700)
            lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except (FileExistsError, FileNotFoundError):
            continue
        if _is_locked(lock) and _is_same_file(lock, path / LOCK):
            return _Folder(path, lock)
        os.close(lock)


def _sweep(shared: Path) -> None:
    for path in shared.iterdir():
        with suppress(OSError):  # another host sweeps, too
            _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    try:
        lock = os.open(path / LOCK, os.O_RDWR)
    except FileNotFoundError:
        path.rmdir()  # its host was killed between two steps; fails if there is something in it
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    finally:
        os.close(lock)


def _is_locked(lock: int) -> bool:
    """Lock the file; return whether no other process holds it. On a file system without locks nothing is swept."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


LONGEST_PATH = 100  # bytes; sun_path holds 108 on Linux and 104 on macOS


def new_socket_path() -> Path | None:
    """Return a path for a worker's socket; ``None`` without a folder, or if the path is too long."""
    folder = private_folder()
    if folder is None:
        return None
    path = folder / f"{secrets.token_hex(4)}.sock"
    return path if len(os.fsencode(path)) <= LONGEST_PATH else None


def remove_socket(path: str) -> None:
    """Remove the socket of a worker that has ended, if it still exists."""
    Path(path).unlink(missing_ok=True)

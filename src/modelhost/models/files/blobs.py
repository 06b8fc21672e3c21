"""Files that clients upload, each named by the SHA-256 of its content: only complete ones are ever visible.

An upload is written to a file of its own and renamed when its content is what its name says. A lock on that file
distinguishes uploads of a running process from those that a crash has left behind. Everything here blocks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Self
from uuid import uuid4

from modelhost.config.directories import make_private
from modelhost.errors import InvalidRequest, RequestTooLarge
from modelhost.models.files.durable import PART, disk_full, sync_directory, translated

DIGEST: Final = re.compile(r"sha256[:-][0-9a-f]{64}")
UNUSED_SECONDS: Final = 24 * 3600.0
"""How long an uploaded file that nothing uses is kept: a model is made after all of its files have been uploaded."""
BYTES_PER_GB: Final = 1_000_000_000
PREFIX: Final = "sha256-"


def checked_digest(text: str) -> str:
    """Return the digest ``text`` in the form ``sha256:HEX``; raises InvalidRequest if it is none."""
    if DIGEST.fullmatch(text) is None:
        raise InvalidRequest(
            f'"{text}" is no digest: that is sha256: followed by 64 characters, 0 to 9 and a to f.', param="digest"
        )
    return text.replace("-", ":", 1)


class BlobStore:
    """The uploaded files in ``folder``, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Return where the content of ``digest`` is or will be; raises InvalidRequest if that is no digest."""
        return self.folder / checked_digest(digest).replace(":", "-")

    def has(self, digest: str) -> bool:
        """Whether the content is here; if so, it is kept for as long as one that has just been uploaded."""
        return _note_use(self.path(digest))

    def upload(self, digest: str, *, limit_bytes: int, expected_bytes: int = 0) -> Upload:
        """Return an upload, which ``with`` begins.

        Raises:
            InvalidRequest: ``digest`` is none.
            RequestTooLarge: the ``expected_bytes`` are more than ``limit_bytes``.
        """
        return Upload(self.path(digest), limit_bytes=limit_bytes, expected_bytes=expected_bytes)

    def prune(self, used: Collection[str]) -> None:
        """Remove what crashes have left of uploads, and files that have not been ``used`` for long."""
        oldest = time.time() - UNUSED_SECONDS
        for file in sorted(self.folder.glob(f"{PREFIX}*")):
            with suppress(FileNotFoundError):  # another host prunes the same folder
                if file.suffix == PART:
                    _remove_if_abandoned(file)
                elif file.name.replace("-", ":", 1) not in used and _last_use(file) < oldest:
                    file.unlink()

    def remove(self, digests: Iterable[str]) -> None:
        """Remove files; a worker that has one open can still read it."""
        for digest in digests:
            self.path(digest).unlink(missing_ok=True)


def _last_use(path: Path) -> float:
    times = path.stat()
    return max(times.st_atime, times.st_mtime)


def _note_use(path: Path) -> bool:
    """Set the time of the last access to now, and return whether there is a file at all.

    Its time of change stays: by that, a host finds out whether it has to load a model again.
    """
    try:
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    return True


def _remove_if_abandoned(part: Path) -> None:
    with part.open("rb") as file, suppress(BlockingIOError):  # its process is writing it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.unlink()


class Upload:
    """One file as it arrives. Nothing of it is kept without :meth:`publish`."""

    def __init__(self, path: Path, *, limit_bytes: int, expected_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._expected_bytes = expected_bytes
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._file: BinaryIO | None = None
        self._part = path
        self._check_size(expected_bytes)

    def __enter__(self) -> Self:
        """Begin; raises DiskFull if the expected bytes do not fit on the disk."""
        folder = self._path.parent
        make_private(folder)
        free_bytes = shutil.disk_usage(folder).free
        if self._expected_bytes > free_bytes:
            raise disk_full(folder, self._expected_bytes, free_bytes)
        while self._file is None:
            self._part = folder / f"{self._path.name}-{uuid4().hex[:8]}{PART}"
            file = self._part.open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                self._file = file
            else:  # taken for abandoned before it was locked
                file.close()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._file is not None:
            self._part.unlink(missing_ok=True)
            with suppress(OSError):  # what could not be written is not wanted any more
                self._file.close()

    def write(self, data: bytes) -> None:
        """Append ``data``; raises RequestTooLarge and DiskFull."""
        assert self._file is not None
        self._bytes += len(data)
        self._check_size(self._bytes)
        self._hash.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise translated(error, self._path.parent, self._bytes) from error

    def publish(self) -> None:
        """Make the file visible and durable.

        Raises:
            InvalidRequest: its content is not that of its digest.
            DiskFull: it does not fit on the disk.
        """
        assert self._file is not None
        found = PREFIX + self._hash.hexdigest()
        if found != self._path.name:
            raise InvalidRequest(
                f"The {self._bytes} bytes that arrived have the digest {checked_digest(found)}, not "
                f"{checked_digest(self._path.name)}: send the file again, with the digest of its content.",
                param="digest",
            )
        try:
            self._file.flush()
            if _note_use(self._path):  # it is here already, and models may be using it
                return
            os.fsync(self._file.fileno())
            self._part.replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            raise translated(error, self._path.parent, self._bytes) from error

    def _check_size(self, size: int) -> None:
        if size > self._limit_bytes:
            raise RequestTooLarge(
                f"The file is larger than the {self._limit_bytes / BYTES_PER_GB:g} GB allowed (--max-blob-gb).",
                limit_bytes=self._limit_bytes,
            )

"""Whether the files of a model are still those that were read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

Stamp = tuple[int, int]
"""The size of a file, and when it was written last, in nanoseconds."""
Stamps = Mapping[Path, Stamp | None]
"""By path; ``None`` where there is nothing."""


def stamps_of(paths: Iterable[Path]) -> Stamps:
    """Return what tells the files at ``paths`` from others of these names, those that links lead to."""
    return {path: _stamp(path) for path in paths}


def are_current(stamps: Stamps) -> bool:
    """Whether all files are as they were."""
    return all(_stamp(path) == stamp for path, stamp in stamps.items())


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns

"""The memory of the machine, or of the container: what this process may use of it, and what is left.

A container's limit is a control group's: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory and, for the older
kind, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html. A limit holds for all groups below it, so each group
on the way from ours up to the topmost that can be seen is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What the files of one kind of control group are called, and the field of ``stat`` for what can be dropped."""

    limit: str
    used: str
    stat: str
    droppable: str


UNIFIED = Files(limit="memory.max", used="memory.current", stat="memory.stat", droppable="inactive_file")
LEGACY = Files(
    limit="memory.limit_in_bytes", used="memory.usage_in_bytes", stat="memory.stat", droppable="total_inactive_file"
)


def machine_memory(root: Path = ROOT) -> int:
    """Return how many bytes of memory this process and its workers may use together; swap is not counted."""
    limits = [limit for folder, files in groups(root) if (limit := _number(folder / files.limit)) is not None]
    return min([int(psutil.virtual_memory().total), *limits])


def available_memory(root: Path = ROOT) -> int:
    """Return how many bytes can still be had without swapping: what is free, and what the kernel would drop."""
    left = [size for folder, files in groups(root) if (size := left_in_group(folder, files)) is not None]
    return max(0, min([int(psutil.virtual_memory().available), *left]))


def oom_kills(root: Path = ROOT) -> int | None:
    """Return how many processes the kernel has killed for want of memory since it started, those over a control
    group's limit included; ``None`` where it does not count them."""
    return _field(root / "proc/vmstat", "oom_kill")


def groups(root: Path) -> Iterator[tuple[Path, Files]]:
    """Yield the control groups that limit this process, as folders; none on a system without them."""
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield from ((folder, LEGACY) for folder in _upwards(mounts / "memory", path))
        elif not controllers:
            unified = mounts / "unified"
            yield from ((folder, UNIFIED) for folder in _upwards(unified if unified.exists() else mounts, path))


def left_in_group(folder: Path, files: Files) -> int | None:
    """Return how much the processes of one control group may still take; ``None`` if it has no limit."""
    limit, used = _number(folder / files.limit), _number(folder / files.used)
    if limit is None or used is None:
        return None
    return limit - used + (_field(folder / files.stat, files.droppable) or 0)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    # In a container the path may be the one outside, of which only the last part, or nothing, is to be seen here.
    inside = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in {"/", ".."}))
    for group in (inside, *inside.parents):
        if (folder := mount / group).is_dir():
            yield folder


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None  # "max": no limit


def _field(path: Path, name: str) -> int | None:
    found = re.search(rf"^{name} (\d+)$", _text(path), re.MULTILINE)
    return int(found[1]) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

"""The memory of the machine, or of the container: what this process may use of it, and what is left.

A container's limit is a control group's: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory and, for the older
kind, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import psutil

from modelhost.workers.control_groups import ROOT, ControlGroup, control_groups, number_in, text_of


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
    groups = control_groups("memory", root)
    limits = [limit for each in groups if (limit := number_in(each.folder / _files(each).limit)) is not None]
    return min([int(psutil.virtual_memory().total), *limits])


def available_memory(root: Path = ROOT) -> int:
    """Return how many bytes can still be had without swapping: what is free, and what the kernel would drop."""
    left = [size for group in control_groups("memory", root) if (size := left_in_group(group)) is not None]
    return max(0, min([int(psutil.virtual_memory().available), *left]))


def oom_kills(root: Path = ROOT) -> int | None:
    """Return how many processes the kernel has killed for want of memory since it started, those over a control
    group's limit included; ``None`` where it does not count them."""
    return _field(root / "proc/vmstat", "oom_kill")


def left_in_group(group: ControlGroup) -> int | None:
    """Return how much the processes of one control group may still take; ``None`` if it has no limit."""
    files = _files(group)
    limit, used = number_in(group.folder / files.limit), number_in(group.folder / files.used)
    if limit is None or used is None:
        return None
    return limit - used + (_field(group.folder / files.stat, files.droppable) or 0)


def _files(group: ControlGroup) -> Files:
    return UNIFIED if group.is_unified else LEGACY


def _field(path: Path, name: str) -> int | None:
    found = re.search(rf"^{name} (\d+)$", text_of(path), re.MULTILINE)
    return int(found[1]) if found else None

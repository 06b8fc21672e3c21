"""What this machine, or the container, lets the process use: control groups, memory and processor cores.

Control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html (and #memory in it) and, for the older kind,
https://docs.kernel.org/admin-guide/cgroup-v1/. A limit holds for all groups below it, so each group on the way from
ours up to the topmost that can be seen is read.

Cores: https://docs.kernel.org/admin-guide/cputopology.html and, for those of unequal speed,
https://docs.kernel.org/admin-guide/abi-testing.html (``/sys/devices/system/cpu/cpuX/cpu_capacity``,
``/sys/devices/cpu_core/cpus``).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import psutil

ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroup:
    """The folder of one group; ``is_unified``: version 2, whose files have other names."""

    folder: Path
    is_unified: bool


def control_groups(controller: str, root: Path = ROOT) -> Iterator[ControlGroup]:
    """Yield the groups that limit what ``controller`` (``memory``, ``cpu``) controls; none without control groups."""
    mounts = root / "sys/fs/cgroup"
    for line in kernel_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            # Controllers that are mounted together usually have a link each.
            mount = next((each for each in (mounts / controller, mounts / controllers) if each.is_dir()), mounts)
            yield from (ControlGroup(folder=folder, is_unified=False) for folder in _upwards(mount, path))
        elif not controllers:
            unified = mounts / "unified"
            mount = unified if unified.exists() else mounts
            yield from (ControlGroup(folder=folder, is_unified=True) for folder in _upwards(mount, path))


def kernel_number(path: Path) -> int | None:
    """Return the whole number in a file; ``None`` without the file or without a limit ("max", -1)."""
    text = kernel_text(path).strip()
    return int(text) if text.isdigit() else None


def kernel_text(path: Path) -> str:
    """Return the contents of a file of the kernel; empty if there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    # In a container the path may be the one outside, of which only the last part, or nothing, exists here.
    inside = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in {"/", ".."}))
    for group in (inside, *inside.parents):
        if (folder := mount / group).is_dir():
            yield folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The names of a control group's files, and the field of ``stat`` for memory that can be reclaimed."""

    limit: str
    used: str
    stat: str
    droppable: str


UNIFIED = Files(limit="memory.max", used="memory.current", stat="memory.stat", droppable="inactive_file")
LEGACY = Files(
    limit="memory.limit_in_bytes", used="memory.usage_in_bytes", stat="memory.stat", droppable="total_inactive_file"
)


def machine_memory(root: Path = ROOT) -> int:
    """Return the bytes of memory that this process and its workers may use together, without swap."""
    groups = control_groups("memory", root)
    limits = [limit for each in groups if (limit := kernel_number(each.folder / _files(each).limit)) is not None]
    return min([int(psutil.virtual_memory().total), *limits])


def available_memory(root: Path = ROOT) -> int:
    """Return the bytes available without swapping: free memory and what the kernel can reclaim."""
    left = [size for group in control_groups("memory", root) if (size := left_in_group(group)) is not None]
    return max(0, min([int(psutil.virtual_memory().available), *left]))


def oom_kills(root: Path = ROOT) -> int | None:
    """Return how many processes the kernel has killed for lack of memory since its start, including those over a
    control group's limit; ``None`` where it does not count them."""
    return _field(root / "proc/vmstat", "oom_kill")


def left_in_group(group: ControlGroup) -> int | None:
    """Return how much memory the processes of a control group may still use; ``None`` without a limit."""
    files = _files(group)
    limit, used = kernel_number(group.folder / files.limit), kernel_number(group.folder / files.used)
    if limit is None or used is None:
        return None
    return limit - used + (_field(group.folder / files.stat, files.droppable) or 0)


def _files(group: ControlGroup) -> Files:
    return UNIFIED if group.is_unified else LEGACY


def _field(path: Path, name: str) -> int | None:
    found = re.search(rf"^{name} (\d+)$", kernel_text(path), re.MULTILINE)
    return int(found[1]) if found else None


LEAST_SHARE_OF_SPEED: Final = 0.5
"""Of the fastest core: slower cores delay the others, since all threads wait for the last at every step."""
APPLE_FAST_CORES: Final = ("/usr/sbin/sysctl", "-n", "hw.perflevel0.physicalcpu")


def allowed_cores(root: Path = ROOT) -> int:
    """Return how many cores this process and its workers may use; at least one.

    The affinity mask counts, and so does a control group's limit, as set by ``docker run --cpus``. A fraction of a core
    does not: threads beyond the limit are stopped in the middle of their work while the others wait for them.
    """
    limits = [limit for group in control_groups("cpu", root) if (limit := _limit(group)) is not None]
    return max(1, int(min([len(_allowed_cpus()), *limits])))


def computing_cores(root: Path = ROOT) -> int:
    """Return the best number of computing threads: one for each core of :func:`allowed_cores`, but none for the second
    thread of a core, which shares its arithmetic units, and none for efficiency cores.
    """
    if sys.platform == "linux":
        cores = len(_fast_cores(_allowed_cpus(), root))
    elif sys.platform == "darwin":
        cores = _fast_cores_of_apple() or psutil.cpu_count(logical=False) or 1
    else:
        cores = psutil.cpu_count(logical=False) or 1
    return min(cores, allowed_cores(root))


def _allowed_cpus() -> Collection[int]:
    """Return the kernel's CPUs, which are threads of cores, that this process may use."""
    return os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1)


def _fast_cores(cpus: Collection[int], root: Path) -> set[str]:
    """Return the fast cores of ``cpus``, each as the list of its threads."""
    system = root / "sys/devices/system/cpu"
    slow = _numbers(kernel_text(root / "sys/devices/cpu_atom/cpus")) | _numbers(
        kernel_text(root / "sys/devices/cpu_lowpower/cpus")
    )
    capacities = {cpu: kernel_number(system / f"cpu{cpu}/cpu_capacity") or 0 for cpu in cpus}
    least = LEAST_SHARE_OF_SPEED * max(capacities.values(), default=0)
    fast = [cpu for cpu in cpus if cpu not in slow and capacities[cpu] >= least] or list(cpus)
    # A virtual machine may have no such file: then each CPU counts as a core.
    return {kernel_text(system / f"cpu{cpu}/topology/thread_siblings_list").strip() or str(cpu) for cpu in fast}


def _numbers(text: str) -> set[int]:
    """Return the numbers in a list of the kernel, such as ``0-3,8``."""
    ends = [part.partition("-") for part in text.strip().split(",") if part]
    return {number for first, _, last in ends for number in range(int(first), int(last or first) + 1)}


def _fast_cores_of_apple() -> int | None:
    found = subprocess.run(APPLE_FAST_CORES, capture_output=True, text=True, check=False)  # noqa: S603
    return int(found.stdout) if found.stdout.strip().isdigit() else None


def _limit(group: ControlGroup) -> float | None:
    """Return the cores that one group allows: its CPU time per period."""
    if group.is_unified:
        quota, _, period = kernel_text(group.folder / "cpu.max").strip().partition(" ")
        return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
    quota_us, period_us = (
        kernel_number(group.folder / "cpu.cfs_quota_us"),
        kernel_number(group.folder / "cpu.cfs_period_us"),
    )
    return quota_us / period_us if quota_us and period_us else None

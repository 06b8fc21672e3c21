"""How many processor cores this process may use, and how many of them are good for computing.

The kernel describes the cores of a machine in files:
https://docs.kernel.org/admin-guide/cputopology.html, and for those of unequal speed
https://docs.kernel.org/admin-guide/abi-testing.html (``/sys/devices/system/cpu/cpuX/cpu_capacity``,
``/sys/devices/cpu_core/cpus``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

import psutil

from modelhost.workers.control_groups import ROOT, ControlGroup, control_groups, number_in, text_of

LEAST_SHARE_OF_SPEED: Final = 0.5
"""Of the fastest core: what is slower holds the others up, since all threads wait for the last at every step."""
APPLE_FAST_CORES: Final = ("/usr/sbin/sysctl", "-n", "hw.perflevel0.physicalcpu")


def allowed_cores(root: Path = ROOT) -> int:
    """Return how many cores this process and its workers may keep busy; one at least.

    An affinity mask counts, and so does a control group's limit, as of ``docker run --cpus``. A part of a core does
    not: threads beyond the limit are stopped in the middle of their work while the others wait for them.
    """
    limits = [limit for group in control_groups("cpu", root) if (limit := _limit(group)) is not None]
    return max(1, int(min([len(_allowed_cpus()), *limits])))


def computing_cores(root: Path = ROOT) -> int:
    """Return how many threads compute best here: one for each core that :func:`allowed_cores` counts, but none for
    the second thread of a core, which shares its arithmetic units, and none for cores that are made to save energy.
    """
    if sys.platform == "linux":
        cores = len(_fast_cores(_allowed_cpus(), root))
    elif sys.platform == "darwin":
        cores = _fast_cores_of_apple() or psutil.cpu_count(logical=False) or 1
    else:
        cores = psutil.cpu_count(logical=False) or 1
    return min(cores, allowed_cores(root))


def _allowed_cpus() -> Collection[int]:
    """Return what the kernel calls CPUs: the threads of cores, of which this process may use some."""
    return os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1)


def _fast_cores(cpus: Collection[int], root: Path) -> set[str]:
    """Return the cores of ``cpus`` that are not slow, each as the list of its threads."""
    system = root / "sys/devices/system/cpu"
    slow = _numbers(text_of(root / "sys/devices/cpu_atom/cpus")) | _numbers(
        text_of(root / "sys/devices/cpu_lowpower/cpus")
    )
    capacities = {cpu: number_in(system / f"cpu{cpu}/cpu_capacity") or 0 for cpu in cpus}
    least = LEAST_SHARE_OF_SPEED * max(capacities.values(), default=0)
    fast = [cpu for cpu in cpus if cpu not in slow and capacities[cpu] >= least] or list(cpus)
    # A virtual machine may have no such file: then each of its CPUs is taken for a core.
    return {text_of(system / f"cpu{cpu}/topology/thread_siblings_list").strip() or str(cpu) for cpu in fast}


def _numbers(text: str) -> set[int]:
    """Return the numbers of a list as the kernel writes them, such as ``0-3,8``."""
    ends = [part.partition("-") for part in text.strip().split(",") if part]
    return {number for first, _, last in ends for number in range(int(first), int(last or first) + 1)}


def _fast_cores_of_apple() -> int | None:
    asked = subprocess.run(APPLE_FAST_CORES, capture_output=True, text=True, check=False)  # noqa: S603
    return int(asked.stdout) if asked.stdout.strip().isdigit() else None


def _limit(group: ControlGroup) -> float | None:
    """Return the cores that one group allows: the time that it may use up in each period of time."""
    if group.is_unified:
        quota, _, period = text_of(group.folder / "cpu.max").strip().partition(" ")
        return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
    quota_us, period_us = number_in(group.folder / "cpu.cfs_quota_us"), number_in(group.folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us else None

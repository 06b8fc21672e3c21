"""How many processor cores this process may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from modelhost.workers.control_groups import ROOT, ControlGroup, control_groups, number_in, text_of


def allowed_cores(root: Path = ROOT) -> int:
    """Return how many cores this process and its workers may keep busy; one at least.

    An affinity mask counts, and so does a control group's limit, as of ``docker run --cpus``. A part of a core does
    not: threads beyond the limit are stopped in the middle of their work while the others wait for them.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    limits = [limit for group in control_groups("cpu", root) if (limit := _limit(group)) is not None]
    return max(1, int(min([cores, *limits])))


def _limit(group: ControlGroup) -> float | None:
    """Return the cores that one group allows: the time that it may use up in each period of time."""
    if group.is_unified:
        quota, _, period = text_of(group.folder / "cpu.max").strip().partition(" ")
        return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
    quota_us, period_us = number_in(group.folder / "cpu.cfs_quota_us"), number_in(group.folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us else None

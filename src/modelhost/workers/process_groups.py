"""The processes of a worker: all that run in the session that its first process leads.

Workers are started with a session of their own, which their children inherit. A child that opens a session itself has
left; nobody follows it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection
from contextlib import suppress

import psutil

from modelhost.logs import get_logger

log = get_logger(__name__)

GONE_SECONDS = 5.0  # a killed process may be held up in a driver, while it gives back a GPU's memory
POLL_SECONDS = 0.01
TRACKER = "multiprocessing.resource_tracker"
TRACKER_SECONDS = 1.0
"""Python's process that removes shared memory which the others leave; it ends by itself once they are gone."""


def members(leader: int) -> list[int]:
    """Return the pids of the session of ``leader``, zombies included.

    One system call for each process of the machine: 0.25 ms among 100 processes.
    """
    return [pid for pid in psutil.pids() if _session(pid) == leader]


def running_members(leader: int) -> list[int]:
    """Return those of :func:`members` that still run: a zombie holds no memory, and its parent may never read it."""
    return [pid for pid in members(leader) if not _is_zombie(pid)]


def is_group_gone(leader: int) -> bool:
    """Say whether nothing of the session of ``leader`` runs any more."""
    return not running_members(leader)


async def end_group(leader: int, *, seconds: float = GONE_SECONDS) -> Collection[int]:
    """Kill whatever is left of the session of ``leader`` and return when it is gone, or after ``seconds``.

    For a leader that has ended and has been reaped: its pid is nobody's then, and cannot become anybody's while its
    session lives, so a process of that pid is a stranger and shows that the session is gone.

    Returns:
        The pids that are left; empty if all went well.
    """
    now = asyncio.get_running_loop().time
    spares_until = now() + TRACKER_SECONDS
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while left := _orphans(leader):
                for pid in left:
                    if now() < spares_until and _is_tracker(pid):
                        continue
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(POLL_SECONDS)
    return _orphans(leader)


def _orphans(leader: int) -> list[int]:
    left = running_members(leader)
    return [] if leader in left else left


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # it has ended since, or is none of our business
        return None


def _is_tracker(pid: int) -> bool:
    try:
        return any(TRACKER in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True

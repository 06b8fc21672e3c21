"""The processes of a worker: all in the session that its first process leads.

Workers are started in sessions of their own, which their children inherit. A child that opens its own session is not
tracked any more.
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

GONE_SECONDS = 5.0  # a killed process may hang in a driver while it frees a GPU's memory
POLL_SECONDS = 0.01
TRACKER = "multiprocessing.resource_tracker"
TRACKER_SECONDS = 1.0
"""For Python's process that removes shared memory of the others; it ends by itself once they are gone."""


def members(leader: int) -> list[int]:
    """Return the pids of the session of ``leader``, including zombies.

    One system call per process of the machine: 0.25 ms for 100 processes.
    """
    return [pid for pid in psutil.pids() if _session(pid) == leader]


def running_members(leader: int) -> list[int]:
    """Return those of :func:`members` that still run: zombies hold no memory, and may never be reaped."""
    return [pid for pid in members(leader) if not _is_zombie(pid)]


async def end_group(leader: int, *, seconds: float = GONE_SECONDS) -> Collection[int]:
    """Kill what is left of the session of ``leader``; return when it is gone, or after ``seconds``.

    For a leader that has ended and been reaped: its pid cannot be reused while its session exists, so a process with
    that pid is another one, and shows that the session is gone.

    Returns:
        The pids that are left; empty if all are gone.
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
    except OSError:  # it has ended since, or may not be queried
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

"""Who has a session: a process of this machine, or of another one, and whether it is still there."""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_PROCESSES: Final = Path("/proc/self/ns/pid")
_CLOCK_TOLERANCE_SECONDS: Final = 2.0
"""By so much the start of one process may seem to differ when it is read twice: a clock that is set moves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that may have sessions. ``nonce`` tells apart what a process opened twice.

    On hosts with the same ``machine`` the same ``pid`` is the same process: it names the boot and, on Linux, the
    namespace of the process ids, which differs between containers.
    """

    name: str
    machine: str
    pid: int
    started: float
    nonce: str


def this_process() -> Holder:
    """Return a new holder for this process."""
    name = platform.node()
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    processes = str(_PROCESSES.readlink()) if _PROCESSES.is_symlink() else ""
    return Holder(
        name=name,
        machine=f"{name}/{boot}/{processes}",
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        nonce=uuid.uuid4().hex,
    )


def is_gone(other: Holder, here: Holder) -> bool:
    """Whether ``other`` was a process of the machine of ``here`` that has ended; of another machine nobody knows."""
    if other.machine != here.machine:
        return False
    try:
        process = psutil.Process(other.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(process.create_time() - other.started) > _CLOCK_TOLERANCE_SECONDS
    except psutil.NoSuchProcess:
        return True

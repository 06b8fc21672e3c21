"""How soon the host runs on cores where its workers compute.

Workers compute on every core, so that the host waits for one at each token. Linux divides a core into slices of some
milliseconds; since 6.12, a thread that asks for shorter ones than the thread that runs is let run at once, as long as
it has not had its share, and that share stays the same (``PREEMPT_SHORT`` in ``kernel/sched/fair.c``).
Earlier kernels, and other systems, have nothing of the kind.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Final

SLICE_NANOSECONDS: Final = 100_000
"""The shortest that Linux gives. The host handles a token in a fraction of that."""
RESET_ON_FORK: Final = 0x01
"""SCHED_FLAG_RESET_ON_FORK: the threads and processes that this thread starts have the usual slices."""
SYSTEM_CALLS: Final = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""The numbers of sched_setattr and sched_getattr, which libraries of C before glibc 2.41 do not have."""


class _Attributes(ctypes.Structure):
    """``struct sched_attr`` of linux/sched/types.h, in its first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def shorten_slices() -> None:
    """Have the calling thread run as soon as it has something to do, where the system can.

    A thread with a priority of its own (negative nice, real time) keeps what it was given.
    """
    if sys.platform != "linux" or platform.machine() not in SYSTEM_CALLS:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice < 0 or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    wanted = _Attributes(size=ctypes.sizeof(_Attributes), flags=RESET_ON_FORK, nice=nice, runtime=SLICE_NANOSECONDS)
    # It is no failure of a host if the system refuses: it runs as it would have before.
    ctypes.CDLL(None).syscall(SYSTEM_CALLS[platform.machine()][0], 0, ctypes.byref(wanted), 0)


def slice_of(thread: int) -> int | None:
    """Return the slice of a thread in nanoseconds, 0 for that of this one; ``None`` where the system does not tell it.

    Before Linux 6.12 the slices of all threads are 0.
    """
    if sys.platform != "linux" or platform.machine() not in SYSTEM_CALLS:
        return None
    found = _Attributes()
    call = SYSTEM_CALLS[platform.machine()][1]
    failed = ctypes.CDLL(None).syscall(call, thread, ctypes.byref(found), ctypes.sizeof(found), 0)
    return None if failed else int(found.runtime)

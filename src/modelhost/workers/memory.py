"""The memory of a worker: how much it uses, and whether it ended for lack of it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import psutil

from modelhost.workers import gpus
from modelhost.workers.process_groups import members

RAM = "ram"
PROC = Path("/proc")
PRESSURE = PROC / "pressure" / "memory"
KIB = 1024
LARGEST_EXACT_BYTES = 256 * 2**20
"""Up to this size a process is measured by PSS. The kernel adds that up page by page: 1.2 ms for 60 MB, 4 ms for 256 MB
and 10 ms for each further GB, during which the process cannot change its memory map. RSS takes 0.03 ms at any size, and
the pages of libraries that it counts in full are a small part of a large process."""

_SOME = re.compile(r"^some avg10=(\d+\.\d+)", re.MULTILINE)
_FIELD = re.compile(rb"^(VmRSS|VmSwap|Pss|SwapPss):\s+(\d+) kB", re.MULTILINE)


def measure_group(leader: int) -> int:
    """Return the memory of the session led by ``leader`` in bytes, including swap; 0 if it is gone.

    A page shared by n processes counts as 1/n in each (PSS) in processes up to :data:`LARGEST_EXACT_BYTES`, and in full
    (RSS) in larger ones and where the kernel has no PSS (macOS, where compressed memory is left out, too). Two large
    workers that map the same file of weights are therefore both measured with all of it. A model mapped into memory
    counts as far as it has been read.

    Takes 1 to 5 ms per process, too long for the event loop: see :func:`measure`.
    """
    return _measure_processes(members(leader))


def measure_self() -> int:
    """Return the memory of this process in bytes, as :func:`measure_group` counts; blocks as that does."""
    return _measure_process(os.getpid())


async def measure(leader: int) -> Mapping[str, int]:
    """Return the memory of the session of ``leader`` by pool: ``ram``, and ``gpu:N`` for each GPU that it uses.

    Measured in a thread. Without GPUs where that is unknown (:func:`modelhost.workers.gpus.bytes_by_gpu`).
    """
    return await asyncio.to_thread(_measure_pools, leader)


def swapped_bytes(leader: int) -> int | None:
    """Return what of the session led by ``leader`` is in swap; ``None`` where the kernel does not report it.

    Quick: it reads no page table.
    """
    if not PROC.exists():
        return None
    return sum(_fields(PROC / str(pid) / "status").get("VmSwap", 0) for pid in members(leader))


def memory_pressure(path: Path = PRESSURE) -> float | None:
    """Return the share of the last 10 seconds in which a process of this machine waited for memory, 0 to 1.

    ``None`` where the kernel does not report it: https://docs.kernel.org/accounting/psi.html
    """
    try:
        found = _SOME.search(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if found is None else float(found[1]) / 100


def _measure_pools(leader: int) -> Mapping[str, int]:
    pids = members(leader)
    on_gpus = gpus.bytes_by_gpu(pids) or {}
    return {RAM: _measure_processes(pids)} | {f"gpu:{index}": size for index, size in on_gpus.items()}


def _measure_processes(pids: Iterable[int]) -> int:
    return sum(_measure_process(pid) for pid in pids)


def _measure_process(pid: int) -> int:
    if not (PROC / str(pid)).exists():
        return _resident_bytes(pid)
    return process_bytes(PROC / str(pid))


def process_bytes(folder: Path) -> int:
    """Return the memory of the process of ``folder`` (``/proc/PID``)."""
    status = _fields(folder / "status")
    resident = status.get("VmRSS", 0) + status.get("VmSwap", 0)
    if status.get("VmRSS", 0) > LARGEST_EXACT_BYTES:
        return resident
    exact = _fields(folder / "smaps_rollup")
    return exact["Pss"] + exact.get("SwapPss", 0) if "Pss" in exact else resident


def _fields(path: Path) -> dict[str, int]:
    try:
        text = path.read_bytes()
    except OSError:  # it has ended since, belongs to another user, or the kernel has no such file
        return {}
    return {name.decode(): int(value) * KIB for name, value in _FIELD.findall(text)}


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


PHRASES = ("cannot allocate memory", "memoryerror", "std::bad_alloc", "out of memory")
"""Messages of the C library, Python and C++, in lower case; an engine adds its own (``Launch.memory_phrases``)."""

KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the second as reported by a shell


def ran_out_of_memory(
    *,
    exit_status: int | None,
    was_killed_by_us: bool,
    oom_kills: tuple[int | None, int | None],
    lines: Iterable[str],
    phrases: Iterable[str] = (),
) -> bool:
    """Return whether a worker that did not start ended for lack of memory: then a smaller context may help.

    Args:
        exit_status: how the process ended, negative for a signal.
        was_killed_by_us: this host ended it, since it was late or broke the protocol.
        oom_kills: the kernel's count of processes killed for lack of memory, before the start and after the end. A
            SIGKILL that it did not count came from a user or a program. Where it does not count, a SIGKILL that is
            not ours is taken for the kernel's.
        lines: the worker's log and the reason that it gave.
        phrases: the engine's, in lower case.
    """
    if was_killed_by_us:
        return False
    if exit_status in KILLED:
        before, after = oom_kills
        if before is None or after is None or after > before:
            return True
    return contains_any(lines, (*PHRASES, *phrases))


def contains_any(lines: Iterable[str], phrases: Collection[str]) -> bool:
    return any(phrase in line for line in map(str.lower, lines) for phrase in phrases)

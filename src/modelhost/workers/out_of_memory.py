"""Whether a worker that did not start ended for want of memory: a smaller context may help then."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable

PHRASES = ("cannot allocate memory", "memoryerror", "std::bad_alloc", "out of memory")
"""What the C library, Python and C++ say, in lower case; an engine adds its own (``Launch.memory_phrases``)."""

KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the second: a shell in between says so


def ended_for_memory(
    *,
    exit_status: int | None,
    was_killed_by_us: bool,
    oom_kills: tuple[int | None, int | None],
    said: Iterable[str],
    phrases: Iterable[str] = (),
) -> bool:
    """Decide it.

    Args:
        exit_status: how the process ended, negative for a signal.
        was_killed_by_us: this host ended it, for being late or making no sense: then it did not end for this.
        oom_kills: the kernel's count of processes killed for want of memory before the start and after the end. A
            SIGKILL that it did not count came from a person or a program. Where it does not count, a SIGKILL that is
            not ours is taken for the kernel's.
        said: what the worker wrote to its log or gave as its reason.
        phrases: the engine's, in lower case.
    """
    if was_killed_by_us:
        return False
    if exit_status in KILLED:
        before, after = oom_kills
        if before is None or after is None or after > before:
            return True
    return says_any(said, (*PHRASES, *phrases))


def says_any(said: Iterable[str], phrases: Collection[str]) -> bool:
    """Return whether one of ``phrases``, which are in lower case, is in a line."""
    return any(phrase in line for line in map(str.lower, said) for phrase in phrases)

"""How late a thread runs that has a little to do now and then, as a host does, beside processes that never pause.

In turns: with the slices of the processor that every thread has, with those that a host asks for
(:mod:`modelhost.workers.time_slices`), and with the usual ones and the other processes at a lower priority. Run
``python -m bench.time_slices``; it needs Linux 6.12.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from modelhost.workers.machine import allowed_cores
from modelhost.workers.time_slices import shorten_slices

PAUSE_SECONDS: Final = 0.003
"""Between two tasks: about the time of a token."""
TASK_SECONDS: Final = 0.0002
SPIN: Final = "while True: pass"
LOWER_PRIORITY: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A way to share the cores."""

    name: str
    has_short_slices: bool = False
    nice: int = 0
    """Of the other processes."""


VARIANTS: Final = (
    Variant(name="usual slices"),
    Variant(name="short slices", has_short_slices=True),
    Variant(name=f"usual slices, the others at nice {LOWER_PRIORITY}", nice=LOWER_PRIORITY),
)


def measure(rounds: int, seconds: float) -> Mapping[str, Sequence[float]]:
    """Return by variant how many seconds late each task began; ``seconds`` is the time of each round."""
    late: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant in VARIANTS:
            # A thread of its own, since what it asks for stays; and processes of their own, whose priority only falls.
            with _others(variant.nice), ThreadPoolExecutor(1) as pool:
                prepare = shorten_slices if variant.has_short_slices else _nothing
                late[variant.name] += pool.submit(_tasks, prepare, seconds).result()
    return late


@contextmanager
def _others(nice: int) -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(allowed_cores())]
    try:
        for other in others:
            os.setpriority(os.PRIO_PROCESS, other.pid, os.getpriority(os.PRIO_PROCESS, 0) + nice)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _nothing() -> None:
    """Leave the slices as they are."""


def _tasks(prepare: Callable[[], None], seconds: float) -> list[float]:
    prepare()
    late = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        due = time.perf_counter() + PAUSE_SECONDS
        time.sleep(PAUSE_SECONDS)
        begun = time.perf_counter()
        late.append(begun - due)
        while time.perf_counter() < begun + TASK_SECONDS:
            pass
    return late


def summary(late: Mapping[str, Sequence[float]]) -> list[str]:
    """Return a line for each variant."""
    lines = []
    for name, seconds in late.items():
        median, mean = statistics.median(seconds), statistics.fmean(seconds)
        lines.append(f"{name}: {1000 * median:.2f} ms late, median of {len(seconds)} tasks; mean {1000 * mean:.2f} ms")
    return lines


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(prog="bench.time_slices", description=__doc__.partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--seconds", type=float, default=0.6, help="of each variant in each round")
    options = arguments.parse_args()
    for line in summary(measure(options.rounds, options.seconds)):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()

"""Where the time of one work goes: what each process computes, how long it waits for a core, and its main functions.

Processors' time and waits are what Linux counts for each thread (``/proc/PID/task/TID/schedstat``); functions are those
of ``perf``, if there is one.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.rivals.works import Build, OverHttp, Work

HOST, WORKER = "modelhost", "worker"
SAMPLES_PER_SECOND: Final = 499
ATTACH_SECONDS: Final = 0.3
"""Until perf samples all threads."""
FUNCTIONS: Final = 4
PROC: Final = Path("/proc")
NANOSECONDS: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What the threads of one process did meanwhile, together."""

    process: str
    """``HOST`` or ``WORKER``."""
    computing_seconds: float
    waiting_seconds: float
    """Ready to compute, without a core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One work, done once."""

    seconds: float
    tokens: int
    """Of all clients, by which the others are divided for people."""
    shares: tuple[Share, ...] = ()
    functions: tuple[str, ...] = ()
    """The functions that took most of the processors' time, with their shares; empty without ``perf``."""

    def milliseconds(self, seconds: float) -> str:
        """Return ``seconds`` as milliseconds for a token."""
        return f"{1000 * seconds / self.tokens:.2f}"

    @property
    def line(self) -> str:
        """The profile as one line for people."""
        parts = [f"{self.milliseconds(self.seconds)} ms a token"]
        for share in self.shares:
            computing = self.milliseconds(share.computing_seconds)
            waiting = self.milliseconds(share.waiting_seconds)
            parts.append(f"{share.process} computes {computing} and waits {waiting} for a core")
        return "; ".join([*parts, *([", ".join(self.functions)] if self.functions else [])])


def profile(build: Build, work: Work) -> Profile:
    """Return the profile of ``work``, done by ``build``; of what is no server of its own, only the time."""
    processes = processes_of(build) if isinstance(build, OverHttp) else {}
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples"
        with _sampled(list(processes), samples):
            before = {pid: _counted(pid) for pid in processes}
            seconds = build(work)
            after = {pid: _counted(pid) for pid in processes}
        functions = _functions(samples) if samples.exists() else ()
    shares = []
    for name in dict.fromkeys(processes.values()):
        changes = [
            (after[pid][0] - before[pid][0], after[pid][1] - before[pid][1])
            for pid, of in processes.items()
            if of == name
        ]
        computing, waiting = (sum(column) for column in zip(*changes, strict=True))
        shares.append(Share(process=name, computing_seconds=computing, waiting_seconds=waiting))
    return Profile(seconds=seconds, tokens=work.counted, shares=tuple(shares), functions=functions)


def processes_of(build: OverHttp) -> dict[int, str]:
    """Return the processes of a server: one alone is a worker, else the first is a host, and the others are its own."""
    children = [child.pid for child in psutil.Process(build.side.pid).children(recursive=True)]
    return {build.side.pid: HOST if children else WORKER, **dict.fromkeys(children, WORKER)}


def _counted(pid: int) -> tuple[float, float]:
    """Return how long the threads of a process have computed, and waited for a core; nothing where none counts it."""
    computing = waiting = 0
    for file in (PROC / str(pid) / "task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has just ended
            ran, waited, _ = map(int, file.read_text().split())
            computing, waiting = computing + ran, waiting + waited
    return computing / NANOSECONDS, waiting / NANOSECONDS


@contextmanager
def _sampled(pids: Sequence[int], samples: Path) -> Iterator[None]:
    """Have ``perf``, if there is one, write to ``samples`` what the processes do until the block ends."""
    perf = shutil.which("perf")
    if perf is None or not pids:
        yield
        return
    options = ["-q", "-e", "cpu-clock", "-F", str(SAMPLES_PER_SECOND), "-p", ",".join(map(str, pids))]
    process = subprocess.Popen([perf, "record", *options, "-o", str(samples)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(ATTACH_SECONDS)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _functions(samples: Path) -> tuple[str, ...]:
    options = ["--stdio", "-q", "--no-children", "-F", "overhead,dso,sym", "-t", "|"]
    command = [shutil.which("perf") or "perf", "report", *options, "-i", str(samples)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return functions_in(found.stdout)


def functions_in(report: str) -> tuple[str, ...]:
    """Return the first functions of a report of ``perf``, whose lines look like ``22.19%|ggml.so|[.] vec_dot_f16``.

    Functions without a name are those of a library, together.
    """
    shares: dict[str, float] = {}
    for line in report.splitlines():
        share, _, where = line.partition("|")
        library, found, symbol = where.partition("|")
        if not found:
            continue
        name = re.sub(r"<[^<>]*>", "", symbol.strip().partition(" ")[2])
        key = f"in {library.strip()}" if name.startswith("0x") else name
        shares[key] = shares.get(key, 0.0) + float(share.strip().rstrip("%"))
    most = sorted(shares.items(), key=lambda each: each[1], reverse=True)[:FUNCTIONS]
    return tuple(f"{name} {share:.0f} %" for name, share in most)

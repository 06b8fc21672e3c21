"""Measuring: the load generator is asked for the same job on one side and on the other, in turns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psutil

from bench.figures import Call, Job, Measured, Row, Seen
from bench.loads import Load
from bench.sides import Side


class LoadGenerator:
    """The process that makes the load."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, job: Job) -> Seen:
        """Do ``job``; only one at a time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        return Seen(**json.loads(self._process.stdout.readline()))


@contextmanager
def load_generator() -> Iterator[LoadGenerator]:
    """Start the load generator; end it afterwards."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.client"],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield LoadGenerator(process)
        finally:
            process.terminate()


def measure(generator: LoadGenerator, load: Load, streams: int, side: Side) -> Measured:
    """Run ``load`` on ``side`` once; the cost is that of the process in front, without its children."""
    process = psutil.Process(side.pid)
    before, cpu_before = process.cpu_times(), cpu_seconds(process)
    seen = generator.do(
        Job(
            calls=(Call(url=side.url, api_key=side.api_key, body=load.body, door=load.door),),
            streams=streams,
            requests=load.requests,
            seconds=load.seconds,
            expected_events=load.expected_events,
        )
    )
    cpu_after = cpu_seconds(process)
    return Measured(
        seen=seen,
        cpu_seconds=cpu_after - cpu_before,
        kernel_seconds=process.cpu_times().system - before.system,
        rss_bytes=process.memory_info().rss,
    )


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of ``process`` so far: of Linux to the nanosecond, elsewhere to the hundredth of a second."""
    threads = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    if threads:
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    times = process.cpu_times()
    return times.user + times.system


def measure_row(generator: LoadGenerator, load: Load, streams: int, sides: Sequence[Side | None], rounds: int) -> Row:
    """Measure the ``sides``, bare worker and host, in turns, ``rounds`` times; a missing one is left out."""
    found: tuple[list[Measured], list[Measured]] = ([], [])
    for _ in range(rounds):
        for side, runs in zip(sides, found, strict=True):
            if side is not None:
                runs.append(measure(generator, load, streams, side))
    return Row(load=load.name, streams=streams, bare=tuple(found[0]), host=tuple(found[1]))

"""Measuring the contenders of an engine in turns: their starts to the first token, then their tokens per second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.contenders import HOST, Contender, Contest
from bench.figures import Call, Job, Seen
from bench.measure import LoadGenerator
from bench.several import call_of
from bench.sides import Side, StartError

CLIENTS = (1, 8, 32)
TOKENS = 64
FIRST_TOKENS = 4  # of the request that ends a start
WAIT_SECONDS = 60.0  # for the first answer of a server that takes connections
RETRY_SECONDS = 0.02
BODY: Mapping[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me something."}],
    "temperature": 0,
    "stream_options": {"include_usage": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long is measured: ``rounds`` runs of ``seconds`` for each number of clients, and as many starts."""

    rounds: int
    seconds: float
    clients: tuple[int, ...] = CLIENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one contender: what the clients saw, and the CPU time of the process in front and of all of its."""

    seen: Seen
    front_cpu_seconds: float
    whole_cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """The contenders of an engine, by name, at one number of clients."""

    clients: int
    runs: Mapping[str, tuple[Run, ...]]

    def tokens_per_second(self, name: str) -> float:
        """The median over the rounds."""
        return statistics.median(run.seen.tokens_per_second for run in self.runs[name])

    def first_token_p50(self, name: str) -> float:
        """The median over the rounds, in seconds."""
        return statistics.median(run.seen.first_token_p50 for run in self.runs[name])

    def ratio(self, name: str, other: str) -> float | None:
        """Tokens per second of ``name`` over those of ``other``: the median of the rounds' ratios."""
        pairs = zip(self.runs.get(name, ()), self.runs.get(other, ()), strict=False)
        ratios = [
            mine.seen.tokens_per_second / its.seen.tokens_per_second
            for mine, its in pairs
            if its.seen.tokens_per_second
        ]
        return statistics.median(ratios) if ratios else None

    def cpu_per_1000_tokens(self, name: str, which: str) -> float | None:
        """CPU seconds for 1,000 tokens; ``which`` is a figure of :class:`Run`."""
        tokens = sum(run.seen.tokens or 0 for run in self.runs[name])
        return 1000 * sum(getattr(run, which) for run in self.runs[name]) / tokens if tokens else None

    def errors(self, name: str) -> dict[str, int]:
        """What went wrong, with how often."""
        total: dict[str, int] = {}
        for run in self.runs[name]:
            for what, count in run.seen.errors.items():
                total[what] = total.get(what, 0) + count
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFigures:
    """All that was measured of one engine. ``starts`` are seconds from the spawn of a process to its first token."""

    engine: str
    reference: str
    rival: str | None
    starts: Mapping[str, tuple[float, ...]]
    rows: tuple[EngineRow, ...]

    def start_seconds(self, name: str) -> float:
        """The median of its starts."""
        return statistics.median(self.starts[name])

    @property
    def start_ratio(self) -> float:
        """The reference's seconds over the host's: the median of the rounds' ratios."""
        pairs = zip(self.starts[self.reference], self.starts[HOST], strict=True)
        return statistics.median(its / mine for its, mine in pairs)


def measure_contest(generator: LoadGenerator, contest: Contest, effort: Effort, log: Path) -> EngineFigures:
    """Start the contenders in turns, the last time for good, and measure them in turns.

    Raises:
        StartError: one of them did not start, or did not answer.
    """
    measuring = _Measuring(generator, contest, log)
    starts: dict[str, list[float]] = {contender.name: [] for contender in contest.contenders}
    for _ in range(effort.rounds - 1):
        for contender in contest.contenders:
            with measuring.started(contender) as (_, seconds):
                starts[contender.name].append(seconds)
    with ExitStack() as stack:
        sides = {}
        for contender in contest.contenders:
            sides[contender.name], seconds = stack.enter_context(measuring.started(contender))
            starts[contender.name].append(seconds)
        rows = tuple(measuring.row(sides, clients, effort) for clients in effort.clients)
    return EngineFigures(
        engine=contest.engine,
        reference=contest.reference,
        rival=contest.rival,
        starts={name: tuple(seconds) for name, seconds in starts.items()},
        rows=rows,
    )


class _Measuring:
    def __init__(self, generator: LoadGenerator, contest: Contest, log: Path) -> None:
        self._generator, self._contest, self._log = generator, contest, log

    @contextmanager
    def started(self, contender: Contender) -> Iterator[tuple[Side, float]]:
        """Start it, and yield it with the seconds from its spawn to its first token."""
        begun = time.perf_counter()
        with contender.start(self._log) as side:
            job = Job(calls=(self._call(contender, side, FIRST_TOKENS),), streams=1, expected_tokens=FIRST_TOKENS)
            while True:
                asked = time.perf_counter()
                seen = self._generator.do(job)
                if not seen.errors:
                    yield side, asked - begun + seen.first_token_p50
                    return
                if time.perf_counter() - begun > side.start_seconds + WAIT_SECONDS:
                    said = ", ".join(seen.errors)
                    raise StartError(f"{contender.name} does not answer: {said}; its log is {self._log}")
                time.sleep(RETRY_SECONDS)

    def row(self, sides: Mapping[str, Side], clients: int, effort: Effort) -> EngineRow:
        """Measure all ``sides`` at a number of clients."""
        runs: dict[str, list[Run]] = {name: [] for name in sides}
        for turn in range(-1, effort.rounds):
            for contender in self._contest.contenders:
                side = sides[contender.name]
                job = Job(
                    calls=(self._call(contender, side, TOKENS),),
                    streams=clients,
                    seconds=effort.seconds if turn >= 0 else 0.0,  # what a first time costs is no part of it
                    expected_tokens=TOKENS,
                )
                run = _run(self._generator, job, side)
                if turn >= 0:
                    runs[contender.name].append(run)
        return EngineRow(clients=clients, runs={name: tuple(found) for name, found in runs.items()})

    def _call(self, contender: Contender, side: Side, tokens: int) -> Call:
        return call_of(side, {**BODY, **self._contest.fields, "max_tokens": tokens}, contender.model)


def _run(generator: LoadGenerator, job: Job, side: Side) -> Run:
    front = psutil.Process(side.pid)
    others = front.children(recursive=True)
    front_before, others_before = _cpu_seconds([front]), _cpu_seconds(others)
    seen = generator.do(job)
    front_seconds = _cpu_seconds([front]) - front_before
    return Run(
        seen=seen,
        front_cpu_seconds=front_seconds,
        whole_cpu_seconds=front_seconds + _cpu_seconds(others) - others_before,
    )


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))

"""Two models that are asked in turns: of one host in which both fit or only one does, and of a host for each."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import several
from bench.engines import spec_of
from bench.figures import Call, Job, Seen
from bench.loads import SHORT
from bench.measure import LoadGenerator
from bench.sides import Side, host

ENGINE = "llamacpp"
CLIENTS = (1, 8, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternation:
    """What so many clients saw, each of which asks one model after the other.

    ``apart`` is of two hosts with one model each, ``together`` of one host with both of them loaded, over all rounds;
    ``in_turns`` is of a host that may hold one model at a time, and ``swaps`` is how often it loaded the other one.
    """

    clients: int
    apart: tuple[Seen, ...]
    together: tuple[Seen, ...]
    in_turns: Seen
    swaps: int

    @property
    def ratio(self) -> float | None:
        """Requests per second of one host over those of two: the median of the rounds' ratios."""
        pairs = zip(self.apart, self.together, strict=True)
        ratios = [one.requests_per_second / two.requests_per_second for two, one in pairs if two.requests_per_second]
        return statistics.median(ratios) if ratios else None

    @property
    def requests_per_swap(self) -> float | None:
        """How many requests were answered for one change of the model."""
        return self.in_turns.requests / self.swaps if self.swaps else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputMeter:
    """How long is measured: so many rounds, each of them ``seconds`` a side, and ``in_turns_seconds`` once."""

    rounds: int
    seconds: float
    in_turns_seconds: float


def pace_of(*, quick: bool, rounds: int) -> ThroughputMeter:
    """Return how long to measure; all of it takes less than a minute."""
    return ThroughputMeter(rounds=rounds, seconds=0.5 if quick else 1.5, in_turns_seconds=2.0 if quick else 5.0)


@contextmanager
def alternating(
    generator: LoadGenerator, model: Path | None, log: Path, pace: ThroughputMeter
) -> Iterator[Iterator[Alternation]]:
    """Start the hosts; inside, each number of clients is measured as it is asked for.

    Raises:
        StartError: a host did not start.
    """
    with ExitStack() as stack:
        _, _, arguments = spec_of(ENGINE, model)
        apart = [stack.enter_context(host([*arguments, "--alias", name], log)) for name in several.NAMES]
        together = stack.enter_context(several.registry_host(model, log))
        in_turns = stack.enter_context(several.registry_host(model, log, "--max-models", "1"))
        several.load(together)
        several.load(in_turns, several.NAMES[:1])
        yield (_measured(generator, clients, (apart, together, in_turns), pace) for clients in CLIENTS)


def _measured(
    generator: LoadGenerator, clients: int, sides: tuple[Sequence[Side], Side, Side], pace: ThroughputMeter
) -> Alternation:
    def do(calls: Sequence[Call], seconds: float) -> Seen:
        job = Job(calls=tuple(calls), streams=clients, requests=2, seconds=seconds, expected_events=None)
        return generator.do(job)

    apart, together, in_turns = (_calls(side) for side in sides)
    found: tuple[list[Seen], list[Seen]] = ([], [])
    do(apart, 0), do(together, 0)  # the first requests of a process pay for what stays
    for _ in range(pace.rounds):
        for calls, seen in zip((apart, together), found, strict=True):
            seen.append(do(calls, pace.seconds))
    before = several.evictions(sides[2])
    last = do(in_turns, pace.in_turns_seconds)
    return Alternation(
        clients=clients,
        apart=tuple(found[0]),
        together=tuple(found[1]),
        in_turns=last,
        swaps=several.evictions(sides[2]) - before,
    )


def _calls(side: Side | Sequence[Side]) -> list[Call]:
    sides = [side] * len(several.NAMES) if isinstance(side, Side) else side
    return [several.call_of(each, SHORT, name) for each, name in zip(sides, several.NAMES, strict=True)]

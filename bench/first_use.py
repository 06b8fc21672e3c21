"""The first token of a model that is not loaded: through the host, and of a worker that is spawned for it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from bench import several
from bench.engines import spec_of
from bench.figures import Call, Job
from bench.loads import SHORT
from bench.measure import LoadGenerator
from bench.sides import Side, bare_worker

ENGINE = "llamacpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstUse:
    """Seconds to the first token, over all rounds.

    ``worker_seconds`` are from the spawn of the bare worker, whose request is sent when it says that it is ready, and
    ``host_seconds`` from a request to a host whose model is not loaded. For ``swap_seconds`` another model has to go
    first. ``first_seconds`` is the first time in the life of a host, which looks at the model's file then.
    """

    worker_seconds: tuple[float, ...]
    host_seconds: tuple[float, ...]
    swap_seconds: tuple[float, ...]
    first_seconds: float

    @property
    def added_seconds(self) -> float:
        """What the host adds: the median of the rounds' differences."""
        pairs = zip(self.worker_seconds, self.host_seconds, strict=True)
        return statistics.median(host - worker for worker, host in pairs)


def measure_first_use(
    generator: LoadGenerator, model: Path | None, log: Path, rounds: int
) -> tuple[FirstUse, list[str]]:
    """Spawn the bare worker and ask the host in turns; return what was seen, and what went wrong.

    Raises:
        StartError: a side did not start.
    """
    measuring = _Measuring(generator, model, log)
    worker, cold, swap = [], [], []
    with several.registry_host(model, log, "--max-models", "1") as side:
        measuring.spawned()  # the files are read from the disk once
        first = measuring.asked(side, several.NAMES[0])
        for _ in range(rounds):
            several.unload(side)
            worker.append(measuring.spawned())
            cold.append(measuring.asked(side, several.NAMES[0]))
            swap.append(measuring.asked(side, several.NAMES[1]))
    seen = FirstUse(
        worker_seconds=tuple(worker), host_seconds=tuple(cold), swap_seconds=tuple(swap), first_seconds=first
    )
    return seen, measuring.problems


class _Measuring:
    def __init__(self, generator: LoadGenerator, model: Path | None, log: Path) -> None:
        self._generator = generator
        self._model = model
        self._log = log
        self.problems: list[str] = []

    def spawned(self) -> float:
        engine, spec, _ = spec_of(ENGINE, self._model)
        with bare_worker(engine, spec, self._log) as side:
            return side.start_seconds + self._first_token(several.call_of(side, SHORT, spec.name), "bare worker")

    def asked(self, side: Side, name: str) -> float:
        return self._first_token(several.call_of(side, SHORT, name), "host")

    def _first_token(self, call: Call, who: str) -> float:
        seen = self._generator.do(Job(calls=(call,), streams=1, requests=1, seconds=0, expected_events=None))
        self.problems += [f"model that is not loaded, {who}: {count} x {what}" for what, count in seen.errors.items()]
        return seen.first_token_p50

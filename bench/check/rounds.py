"""One round of the check: both trees are started twice, A B B A, and every figure is taken of all four hosts."""

from __future__ import annotations

import json
import resource
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from bench.check.judge import Metric, Round
from bench.check.trees import CannotCompare, Tree, environment_of, in_tree
from bench.figures import CONTROL_EVENTS, Measured
from bench.loads import Load, scripted
from bench.measure import LoadGenerator, measure
from bench.sides import Order, Side, free_port, host, own_server, worker_process

MB: Final = 1_000_000
FIRST, SHARE_SINGLE, SHARE_FULL, CPU, MEMORY, START, IMPORT, HELP = METRICS = (
    Metric(name="added to the first token", unit="ms", floor=0.05, least_base=0.2, decimals=3),
    Metric(name="tokens/s, one a write, share of the bare worker", unit="", floor=0.05, more_is_better=True),
    Metric(name="tokens/s, 16 a write, share of the bare worker", unit="", floor=0.05, more_is_better=True),
    Metric(name="CPU of the host, 1,000 tokens", unit="ms", floor=0.03),
    Metric(name="memory of the host", unit="MB", floor=0.03, decimals=1),
    Metric(name="start of serve until it is ready", unit="s", floor=0.05),
    Metric(name="import modelhost, CPU", unit="ms", floor=0.1, least_base=20.0, decimals=1),
    Metric(name="modelhost --help, CPU", unit="s", floor=0.05, decimals=3),
)
STREAMS: Final = 32
IMPORTS: Final = 3
TIMED_IMPORT: Final = "import time; b = time.process_time(); import modelhost; print(time.process_time() - b)"
RELAY: Final = Path(__file__).parents[1] / "reference_relay.py"
HOST: Final = ("--engine", "scripted", "--alias", "scripted")


def loads_of(*, quick: bool) -> Mapping[Metric, Load]:
    """Return the load by which each metric is measured; ``quick`` ones tell little."""
    first, paced, seconds = (20, 20, 0.1) if quick else (150, 150, 1.0)
    streams = (STREAMS,)
    return {
        FIRST: scripted("first token", "", 8, streams=(1,), requests=first),
        SHARE_SINGLE: scripted("full speed, one a write", "/batch 1", 500, streams=streams, seconds=seconds),
        SHARE_FULL: scripted("full speed", "", 500, streams=streams, seconds=seconds),
        CPU: scripted("100 tokens/s", "/slow 100", paced, streams=streams),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFigures:
    """All figures of one round. ``relay_added_ms`` is what the reference relay adds to the first token."""

    rounds: Mapping[Metric, Round]
    relay_added_ms: float
    relay_cpu_ms: float
    problems: tuple[str, ...] = ()

    @property
    def added_over_relay_ms(self) -> float:
        """What the host of the working tree adds to the first token more than the reference relay does."""
        return sum(self.rounds[FIRST].tree) / 2 - self.relay_added_ms


@dataclass(slots=True)
class _Taken:
    """The figures of one tree in a round, in the order in which they were taken."""

    values: dict[Metric, list[float]] = field(default_factory=lambda: {metric: [] for metric in METRICS})
    problems: list[str] = field(default_factory=list)

    def add(self, metric: Metric, value: float) -> None:
        self.values[metric].append(value)


def measure_round(
    generator: LoadGenerator, pair: tuple[Tree, Tree], number: int, log: Path, *, quick: bool
) -> RoundFigures:
    """Measure the reference and the working tree, ``pair``; every other round begins with the other one.

    Raises:
        StartError: a host, a worker or the relay did not start.
    """
    first, second = pair if number % 2 == 0 else pair[::-1]
    order = (first, second, second, first)
    taken = {tree: _Taken() for tree in pair}
    for tree in order:
        taken[tree].add(IMPORT, _import_ms(tree))
        taken[tree].add(HELP, _help_seconds(tree))
    with ExitStack() as stack:
        pairs: list[_Pair] = []
        for tree in order:
            through = stack.enter_context(host(HOST, log, environment=tree.environment))
            _check_source(through, tree)
            taken[tree].add(START, through.start_seconds)
            pairs.append(_Pair(tree, stack.enter_context(worker_process(_order(tree), log)), through))
        relayed = _Pair(pair[1], pairs[order.index(pair[1])].bare, stack.enter_context(relay(pair[1], log)))
        relay_added_ms, relay_cpu_ms = _Taking(generator, taken).loads(pairs, relayed, loads_of(quick=quick))
        for each in pairs:
            taken[each.tree].add(MEMORY, psutil.Process(each.through.pid).memory_info().rss / MB)
    rounds = {
        metric: Round(reference=_two(taken[pair[0]].values[metric]), tree=_two(taken[pair[1]].values[metric]))
        for metric in METRICS
    }
    problems = tuple(f"{tree.name}, {problem}" for tree in pair for problem in taken[tree].problems)
    return RoundFigures(rounds=rounds, relay_added_ms=relay_added_ms, relay_cpu_ms=relay_cpu_ms, problems=problems)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A bare worker, and a host or a relay that is measured against it.

    Each host has a worker of its own to be measured against: one that two of them shared would move both figures the
    same way, by chance, which looks like a difference between the trees.
    """

    tree: Tree
    bare: Side
    through: Side


class _Taking:
    def __init__(self, generator: LoadGenerator, taken: Mapping[Tree, _Taken]) -> None:
        self._generator, self._taken = generator, taken

    def loads(self, hosts: Sequence[_Pair], relayed: _Pair, loads: Mapping[Metric, Load]) -> tuple[float, float]:
        """Run the loads on all hosts; return what the relay adds to the first token, and its CPU, in ms."""
        for pair in (*hosts, relayed):  # the first requests of a process pay for what stays
            self._run(loads[FIRST], pair, pair.bare)
            self._run(loads[FIRST], pair, pair.through)
        for metric in (FIRST, SHARE_SINGLE, SHARE_FULL, CPU):
            for pair in hosts:
                self._taken[pair.tree].add(metric, self._value(metric, loads[metric], pair))
        added, cpu = (self._value(metric, loads[metric], relayed) for metric in (FIRST, CPU))
        return added, cpu

    def _value(self, metric: Metric, load: Load, pair: _Pair) -> float:
        if metric is CPU:
            return _cpu_ms(self._run(load, pair, pair.through))
        bare, through = self._run(load, pair, pair.bare).seen, self._run(load, pair, pair.through).seen
        if metric is FIRST:
            return (through.first_token_p50 - bare.first_token_p50) * 1000
        return through.tokens_per_second / bare.tokens_per_second

    def _run(self, load: Load, pair: _Pair, side: Side) -> Measured:
        found = measure(self._generator, load, load.streams[0], side)
        where = "bare worker" if side is pair.bare else "host or relay"
        self._taken[pair.tree].problems += [f"{where}: {count} x {what}" for what, count in found.seen.errors.items()]
        return found


def _cpu_ms(found: Measured) -> float:
    tokens = found.seen.events - CONTROL_EVENTS * found.seen.requests
    return found.cpu_seconds / tokens * 1e6 if tokens else float("nan")


def _two(values: Sequence[float]) -> tuple[float, float]:
    first, second = values
    return first, second


def _import_ms(tree: Tree) -> float:
    """Return the CPU time that a fresh process needs for ``import modelhost``: the least of a few."""
    return min(float(in_tree(tree, "-c", TIMED_IMPORT).stdout) for _ in range(IMPORTS)) * 1000


def _help_seconds(tree: Tree) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = Path(sys.executable).with_name("modelhost")
    subprocess.run([command, "--help"], env=environment_of(tree), stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _order(tree: Tree, socket_path: Path | None = None) -> Order:
    key = secrets.token_hex(16)
    where = () if socket_path is None else (str(socket_path),)
    done = in_tree(tree, "-m", "bench.check.launch", key, *where)
    if done.returncode:
        raise CannotCompare(f"{tree.name} has no scripted worker that the bench can start: {done.stderr.strip()}")
    launch = json.loads(done.stdout)
    launch["env"] |= tree.environment  # the worker is that of the tree, too
    return Order(**launch, api_key=key)


@contextmanager
def relay(tree: Tree, log: Path) -> Iterator[Side]:
    """Start the reference relay in front of a worker of ``tree``, on a private socket as a host's worker is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "worker"
        order = _order(tree, path)
        with worker_process(order, log):
            port = free_port()
            command = [sys.executable, str(RELAY), str(port), str(path), order.api_key]
            with own_server(command, {}, log, port=port) as side:
                yield side


def _check_source(side: Side, tree: Tree) -> None:
    """See that a host and its worker run the source of ``tree``.

    Raises:
        CannotCompare: they do not.
    """
    front = psutil.Process(side.pid)
    for process in (front, *front.children(recursive=True)):
        path = process.environ().get("PYTHONPATH")
        if path != str(tree.source):
            raise CannotCompare(f"A process of {tree.name} has the path {path} instead of {tree.source}.")

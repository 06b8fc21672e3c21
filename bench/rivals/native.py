"""The ``llamacpp`` engine beside other builds of llama.cpp, on the same file.

With as many threads each, which compares the builds; and each as it is started without a setting, which is what a user
sees first, on an idle machine and on a busy one. Of the engine there is the wheel that comes with modelhost; once made,
a build of the machine's own; and, once installed, the package of ``packaging/llamacpp``. ``llama-server`` is of the
same revision as these.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from bench.engines import bundled
from bench.larger import KINDS, write_larger
from bench.rivals import works
from bench.rivals.profile import Profile, profile
from bench.rivals.turns import WHEN_IDLE, compare, measure_turns
from bench.rivals.works import CONTEXT, SLOTS, Build, OverHttp, Work, wait_for_model
from bench.sides import StartError, bare_worker, free_port, host, own_server
from modelhost.engines.environments import folder_of, python_of
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.installation import packaged_server
from modelhost.workers.machine import computing_cores

WHEEL, BUILT, PACKAGED = "modelhost, its wheel", "modelhost, native build", "modelhost, packaged"
SERVER, PYTHON = "llama-server", "llama-cpp-python, built here"
OURS: Final = (WHEEL, BUILT, PACKAGED)
NO_PROGRAM: Final = ("--engine-option", "server=")
NO_EMBEDDINGS: Final = ("--engine-option", "embeddings=false")
"""What chat models have by default, and ``llama-server``. This model has the vocabulary of the bundled one, which is so
small that it makes embeddings as well, for which a whole prompt is one step of the engine.
"""
SAME_THREADS, DEFAULTS, BUSY = "as many threads each, idle", "defaults of each, idle", "defaults of each, busy"
SETTINGS: Final = (SAME_THREADS, DEFAULTS, BUSY)
ENVIRONMENT: Final = Path(__file__).parents[2] / ".venv-native"
INSTALLED: Final = ENVIRONMENT / ".native"  # the stamp of make
DATA: Final = ENVIRONMENT / "data"
RUNNER: Final = Path(__file__).with_name("llama_cpp_python_runner.py")
HOW_TO_INSTALL: Final = "llama-cpp-python is not built: make native"
NO_SERVER: Final = "there is no llama-server on the PATH; --llama-server PATH names one"
START_SECONDS: Final = 60.0
WORKS: Final = (*works.WORKS, *works.STREAMED)
TURNS: Final = 30
"""On a busy machine, where single rounds show nothing."""
ENOUGH: Final = 0.97
"""The share of the speed of ``llama-server`` below which a profile says where the time goes."""

Start = AbstractContextManager[Build]


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeRow:
    """One build with one file: tokens per second of all clients, by work that it does, for each round or turn."""

    build: str
    kind: str
    settings: str
    """One of ``SETTINGS``."""
    speeds: Mapping[str, tuple[float, ...]]
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    """Of works for which it is below ``ENOUGH``; of ``llama-server``, of those for which any other is. Idle only."""
    is_in_turns: bool = False
    """Whether it was measured as :mod:`bench.rivals.turns` does."""

    def speed(self, work: Work) -> float:
        """The median over the rounds; of turns, all tokens over all seconds."""
        found = self.speeds[work.name]
        return statistics.harmonic_mean(found) if self.is_in_turns else statistics.median(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is measured beside the wheel: the folder of the native build's data directory, and a ``llama-server``."""

    built: Path | None
    server: Path | None
    has_python: bool
    packaged: str | None = None

    @classmethod
    def found(cls, server: Path | None) -> Machine:
        """Return what there is; ``server`` is the one that was named."""
        built = DATA if INSTALLED.exists() and python_of(LlamaCpp.name, DATA) is not None else None
        own = folder_of(LlamaCpp.name, DATA) / "bin" / "llama-server"
        named = server or (own if own.exists() else None) or shutil.which("llama-server")
        return cls(
            built=built,
            server=Path(named) if named else None,
            has_python=INSTALLED.exists(),
            packaged=packaged_server(),
        )

    @property
    def problems(self) -> list[str]:
        """What is missing."""
        missing = [] if self.has_python else [f"native: {HOW_TO_INSTALL}"]
        return missing if self.server is not None else [*missing, f"native: {NO_SERVER}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeEffort:
    """How often is measured, and what."""

    rounds: int
    """On an idle machine, unless ``turns`` are given."""
    turns: int | None = None
    """Short turns instead, on either machine; ``None``: ``TURNS`` on a busy one."""
    kinds: Sequence[str] = KINDS
    settings: Sequence[str] = SETTINGS


def measure_native(effort: NativeEffort, machine: Machine, log: Path) -> Iterator[NativeRow]:
    """Yield the rows of each kind of file; what is not there is left out.

    Raises:
        StartError: one did not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        for kind in effort.kinds:
            model = write_larger(bundled(None), Path(folder) / f"{kind}.gguf", kind)
            for which in effort.settings:
                with ExitStack() as stack:
                    starts = builds(model, machine, log, which)
                    found = {name: stack.enter_context(start) for name, start in starts.items()}
                    for build in found.values():
                        build(WORKS[-1])  # what a first time costs is no part of it
                    turns = effort.turns or (TURNS if which == BUSY else None)
                    if turns is None:
                        yield from _rows(found, kind, which, effort.rounds)
                    else:
                        yield from _rows_in_turns(found, kind, which, turns)
            model.unlink()


def _rows_in_turns(found: Mapping[str, Build], kind: str, settings: str, turns: int) -> Iterator[NativeRow]:
    rows = [
        NativeRow(build=name, kind=kind, settings=settings, speeds=speeds, is_in_turns=True)
        for name, speeds in measure_turns(found, turns, is_busy=settings == BUSY).items()
    ]
    for row in rows:
        yield row if settings == BUSY else replace(row, profiles=_profiles(row, rows, found, WHEN_IDLE))


def _rows(found: Mapping[str, Build], kind: str, settings: str, rounds: int) -> Sequence[NativeRow]:
    speeds: dict[str, dict[str, list[float]]] = {
        name: {work.name: [] for work in WORKS if _does(name, work)} for name in found
    }
    for _ in range(rounds):
        for work in WORKS:
            for name, build in found.items():
                if _does(name, work):
                    speeds[name][work.name].append(work.counted / build(work))
    rows = [
        NativeRow(build=name, kind=kind, settings=settings, speeds={what: tuple(seen) for what, seen in each.items()})
        for name, each in speeds.items()
    ]
    return [replace(row, profiles=_profiles(row, rows, found, WORKS)) for row in rows]


def _profiles(
    row: NativeRow, rows: Sequence[NativeRow], found: Mapping[str, Build], works_done: Sequence[Work]
) -> Mapping[str, Profile]:
    """Return the profiles of what ``row`` is too slow for, or of what it is compared with in those of others."""
    server = next((each for each in rows if each.build == SERVER), None)
    if server is None:
        return {}
    slow = [row] if row.build in OURS else [each for each in rows if each.build in OURS] if row is server else []
    works_below = [work for work in works_done if any(ratio(each, server, work) < ENOUGH for each in slow)]
    return {work.name: profile(found[row.build], work) for work in works_below}


def ratio(row: NativeRow, server: NativeRow, work: Work) -> float:
    """Return the speed of ``row`` over that of ``server``: the figure of which a table gives the verdict."""
    if row.is_in_turns:
        return compare(row.speeds[work.name], server.speeds[work.name]).mean.value
    return row.speed(work) / server.speed(work)


def _does(build: str, work: Work) -> bool:
    """Whether ``build`` does such work: llama-cpp-python is called in its process, where nothing is streamed."""
    return build != PYTHON or not work.is_streamed


def builds(model: Path, machine: Machine, log: Path, settings: str) -> dict[str, Start]:
    """Return how the builds that there are start with ``model``: as many threads each, or by their defaults."""
    if settings != SAME_THREADS:
        starts: dict[str, Start] = {WHEEL: _host(model, None, log, *NO_EMBEDDINGS, *NO_PROGRAM)}
        if machine.built is not None:
            starts[BUILT] = _host(model, machine.built, log, *NO_EMBEDDINGS)
        if machine.packaged is not None:
            starts[PACKAGED] = _host(model, None, log, *NO_EMBEDDINGS)
        if machine.server is not None:
            starts[SERVER] = _llama_server(machine.server, model, (), log)
        return starts
    threads = computing_cores()
    spec = partial(ModelSpec, name="larger", path=model, context_length=CONTEXT, slots=SLOTS, threads=threads)
    options = {"embeddings": False}
    starts = {WHEEL: _worker(spec(options=options), log)}
    if machine.built is not None:
        starts[BUILT] = _worker(spec(options=options, python=str(python_of(LlamaCpp.name, machine.built))), log)
    if machine.packaged is not None:
        starts[PACKAGED] = _worker(spec(options={**options, "server": machine.packaged}), log)
    if machine.server is not None:
        arguments = ("--kv-unified", "--ctx-size", CONTEXT * SLOTS, "--parallel", SLOTS)
        threads_of_both = ("--threads", threads, "--threads-batch", threads)
        starts[SERVER] = _llama_server(machine.server, model, (*arguments, *threads_of_both), log)
    if machine.has_python:
        starts[PYTHON] = _llama_cpp_python(model, threads, log)
    return starts


@contextmanager
def _worker(spec: ModelSpec, log: Path) -> Iterator[Build]:
    with bare_worker(LlamaCpp(), spec, log) as side:
        yield OverHttp(side)


@contextmanager
def _host(model: Path, data: Path | None, log: Path, *flags: str) -> Iterator[Build]:
    with tempfile.TemporaryDirectory() as own, host([str(model), "--data-dir", str(data or own), *flags], log) as side:
        yield OverHttp(side)


@contextmanager
def _llama_server(binary: Path, model: Path, arguments: Sequence[object], log: Path) -> Iterator[Build]:
    port = free_port()
    command = [str(binary), "--model", str(model), "--host", "127.0.0.1", "--port", str(port), *map(str, arguments)]
    # Distributions put its libraries beside it.
    paths = os.pathsep.join(filter(None, (str(binary.parent), os.environ.get("LD_LIBRARY_PATH"))))
    with own_server(command, {"LD_LIBRARY_PATH": paths}, log, port=port, timeout=START_SECONDS) as side:
        build = OverHttp(side)
        wait_for_model(build, START_SECONDS)
        yield build


@contextmanager
def _llama_cpp_python(model: Path, threads: int, log: Path) -> Iterator[Build]:
    command = [str(ENVIRONMENT / "bin" / "python"), str(RUNNER), str(model), str(threads), str(SLOTS), str(CONTEXT)]
    with (
        log.open("ab") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):

        def do(work: Work) -> float:
            assert process.stdin is not None
            assert process.stdout is not None
            job = {"clients": work.clients, "prompt": work.prompt, "tokens": work.tokens}
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise StartError(f"{PYTHON} ended; its log is {log}")
            return float(json.loads(line)["seconds"])

        try:
            yield do
        finally:
            process.terminate()

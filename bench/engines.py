"""Bare worker and host of each engine, started with the same settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.figures import Startup
from bench.sides import Side, StartError, bare_worker, host
from modelhost.engines.base import Engine
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.scripted.engine import Scripted

ASSETS = Path(__file__).parent.parent / "src" / "modelhost" / "assets" / "nano"
CONTEXT, SLOTS, THREADS = 512, 32, 1


def spec_of(engine: str, model: Path | None) -> tuple[Engine, ModelSpec, list[str]]:
    """Return the engine, its bare worker's specification, and the arguments of ``serve`` that mean the same.

    Raises:
        StartError: there is no model for the engine.
    """
    if engine == "scripted":
        return Scripted(), ModelSpec(name="scripted"), ["--engine", "scripted", "--alias", "scripted"]
    path = bundled(model)
    spec = ModelSpec(name="nano", path=path, context_length=CONTEXT, slots=SLOTS, threads=THREADS)
    settings = {"context-length": CONTEXT, "slots": SLOTS, "threads": THREADS, "alias": "nano"}
    return (
        LlamaCpp(),
        spec,
        [str(path), *(part for name, value in settings.items() for part in (f"--{name}", str(value)))],
    )


def bundled(model: Path | None) -> Path:
    """Return ``model``, or without one the bundled model.

    Raises:
        StartError: there is none.
    """
    path = model or next(iter(sorted(ASSETS.glob("*.gguf"))), None)
    if path is None:
        raise StartError(f"there is no bundled model in {ASSETS} yet; name a GGUF file with --model")
    return path.absolute()


@contextmanager
def pair(engine: str, model: Path | None, log: Path) -> Iterator[tuple[Side | None, Side | None, list[str]]]:
    """Start bare worker and host; a side that does not start is missing, and the list says why."""
    problems: list[str] = []
    sides: list[Side | None] = [None, None]
    with ExitStack() as stack:
        try:
            recipe, spec, arguments = spec_of(engine, model)
            sides[0] = stack.enter_context(bare_worker(recipe, spec, log))
            sides[1] = stack.enter_context(host(arguments, log))
        except StartError as error:
            problems.append(f"{engine}: {error}")
        yield sides[0], sides[1], problems


def measure_startup(engine: str, model: Path | None, log: Path, rounds: int) -> tuple[Startup, list[str]]:
    """Start bare worker and host in turns, and see how long each takes until it is ready."""
    startup = Startup(engine=engine, worker_seconds=(), host_seconds=(), after_worker_seconds=())
    problems = []
    for _ in range(rounds):
        try:
            recipe, spec, arguments = spec_of(engine, model)
            with bare_worker(recipe, spec, log) as bare:
                pass
            with host(arguments, log) as side:
                pass
        except StartError as error:
            problems.append(f"{engine}: {error}")
            break
        after = () if side.after_worker_seconds is None else (side.after_worker_seconds,)
        startup = Startup(
            engine=engine,
            worker_seconds=(*startup.worker_seconds, bare.start_seconds),
            host_seconds=(*startup.host_seconds, side.start_seconds),
            after_worker_seconds=(*startup.after_worker_seconds, *after),
        )
    return startup, problems

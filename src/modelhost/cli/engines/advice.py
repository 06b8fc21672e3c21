"""The engines of this machine, and advice on faster builds of llama.cpp."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import typer

from modelhost.cli import console
from modelhost.engines.installed import engine_facts
from modelhost.engines.llamacpp.installation import features_of
from modelhost.engines.llamacpp.machine import BetterBuild, Machine, better_build, this_machine
from modelhost.engines.llamacpp.record import ENGINE
from modelhost.engines.traits import EngineFacts
from modelhost.models.residency.hosted import HostedModel
from modelhost.workers.gpus import installed_gpu

PACKAGED: Final = "packaged"
"""The build of a package that suits every processor."""


def engines_here(data_dir: Path) -> list[EngineFacts]:
    """Return the engines of this machine, with advice on llama.cpp."""
    return with_advice(engine_facts(data_dir))


def print_engines(engines: Sequence[EngineFacts]) -> None:
    """Print a table of the engines, followed by the speed of builds and advice."""
    headings = ("Engine", "Version", "Reads", "Can", "Where")
    table = console.new_table(*headings, fold=headings)
    for engine in engines:
        version = engine.version or ("built in" if engine.is_installed else "not installed")
        if engine.build is not None:
            version = f"{version} ({engine.build})"
        can = ", ".join(engine.can) if engine.why_not is None else engine.why_not
        cells = (engine.name, version, engine.reads, can, engine.location or "")
        console.add_row(table, *cells, style="" if engine.is_installed else "dim")
    console.print_table(table)
    for remark in (*(_build_line(each) for each in engines if each.factors), *(each.remark for each in engines)):
        if remark:
            typer.echo(f"\n{remark}")


def _build_line(engine: EngineFacts) -> str:
    factors = ", ".join(f"{what} {factor:.2f} times" for what, factor in (engine.factors or {}).items())
    guidance = "with" if engine.has_llguidance else "without"
    return f"{engine.name} ({engine.build}), as fast as the wheel in its check: {factors}; {guidance} llguidance."


def faster_build(model: HostedModel) -> BetterBuild | None:
    """Return the build that would run ``model`` faster than its worker does; ``None``: there is none, or no worker.

    Nothing is started for it: the worker has said what it computes with. Costs a look at a few files.
    """
    if model.worker is None or model.engine.name != ENGINE or not model.worker.ready.features:
        return None
    if model.known is not None and model.known.unused_gpu is not None:
        return None  # a separate note reports this
    better = better_build(machine_here(), model.worker.ready.features)
    is_built = model.spec is not None and model.spec.has_fallback
    # A compiler that is older than the processor may leave some of it unused: to build it again would not help.
    return None if better is not None and better.build == "native" and is_built else better


def machine_here() -> Machine:
    """Return the facts that decide which build is best here. Reads a few files and asks NVIDIA's driver."""
    gpu = installed_gpu()
    return this_machine(None if gpu is None else gpu.build)


def with_advice(engines: Sequence[EngineFacts]) -> list[EngineFacts]:
    """Return ``engines`` with advice on llama.cpp."""
    return [_with_advice(engine) if engine.name == ENGINE and engine.is_installed else engine for engine in engines]


def _with_advice(engine: EngineFacts) -> EngineFacts:
    machine = machine_here()
    if engine.remark is not None or engine.build is None or better_build(machine) is None:
        return engine  # without a build, it is a llama-server of the user's
    better = better_build(machine, engine.features or features_of(sys.executable))
    is_there = better is None or better.build == engine.build or (better.build == "native" and engine.build == PACKAGED)
    return engine if is_there else replace(engine, remark=str(better))

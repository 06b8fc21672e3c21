"""The engines of this machine, and advice on faster builds of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from modelhost.cli import console
from modelhost.engines import TRAITS
from modelhost.engines.installed import engine_facts
from modelhost.engines.traits import BetterBuild, EngineFacts
from modelhost.models.residency.hosted import HostedModel
from modelhost.workers.gpus import installed_gpu


def engines_here(data_dir: Path) -> list[EngineFacts]:
    """Return the engines of this machine, with advice on faster builds."""
    return [_with_advice(engine) for engine in engine_facts(data_dir)]


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
    return f"{engine.name} ({engine.build}): {factors} the speed of the wheel in its check; {guidance} llguidance."


def faster_build(model: HostedModel) -> BetterBuild | None:
    """Return the build that would run ``model`` faster than its worker does; ``None``: there is none, or no worker.

    Nothing is started for it: the worker has said what it computes with. Costs a look at a few files.
    """
    if model.worker is None or not model.worker.ready.features:
        return None
    builds = TRAITS[model.engine.name].installation.builds
    if builds is None or (model.known is not None and model.known.unused_gpu is not None):
        return None  # a separate note reports the GPU
    is_built = model.spec is not None and model.spec.has_fallback
    return builds.better(usable_gpu(), model.worker.ready.features, is_built=is_built)


def usable_gpu() -> str | None:
    """Return the framework that computes on the GPU of this machine, if there is one. Asks NVIDIA's driver."""
    gpu = installed_gpu()
    return None if gpu is None else gpu.build


def _with_advice(engine: EngineFacts) -> EngineFacts:
    builds = TRAITS[engine.name].installation.builds
    return engine if builds is None or not engine.is_installed else builds.advised(engine, usable_gpu())

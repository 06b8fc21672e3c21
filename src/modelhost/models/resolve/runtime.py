"""A GPU that is there while a model is computed on the CPU, because its engine was built for CPUs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelhost.config import environment
from modelhost.config.directories import data_directory
from modelhost.config.settings import Settings
from modelhost.engines import ENGINES, TRAITS
from modelhost.engines.base import Engine
from modelhost.engines.installed import (
    environment_of,
    missing_modules,
)
from modelhost.models.resolve.headroom import Headroom, headroom_of_empty_machine
from modelhost.workers.gpus import gpus, have_driver
from modelhost.workers.installed_gpus import installed_gpu

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
NONE: Final = ("", "-1", "none", "void")
"""Values of the variable that hide every GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedGpu:
    """What is to be told of it."""

    name: str
    engine: str
    way_out: str
    """The command that installs a build for it."""

    def line(self, model: str) -> str:
        """Return what is told a person, as one line."""
        return (
            f"{self.name} is not used: {self.engine} is installed in a build for CPUs, on which {model} runs. "
            f"To use the GPU: {self.way_out}"
        )


def unused_gpu(engine: str, settings: Settings) -> UnusedGpu | None:
    """Return the GPU that a model of ``engine``, which finds none, could be on.

    ``None``: the machine has none, there is no such build of the engine, or somebody wants the CPU.
    """
    support = TRAITS[engine].gpu
    if support is None or wants_cpu(settings):
        return None
    gpu = installed_gpu()
    if gpu is None or gpu.build not in support.builds:
        return None
    program = ENGINES[engine].program(ENGINES[engine].complete_options(settings.engine_options))
    way_out = support.install_command.format(build=gpu.build)
    if program is not None:
        way_out = f"name a llama-server that is built for {gpu.build}, which {program} is not"
    return UnusedGpu(name=gpu.name, engine=engine, way_out=way_out)


def wants_cpu(settings: Settings) -> bool:
    """Whether the settings, or the environment, keep a model off GPUs."""
    own = settings.worker_env.get(VISIBLE)
    visible = environment.current().get(VISIBLE) if own is None else own.get_secret_value()
    is_hidden = visible is not None and visible.strip().lower() in NONE
    return is_hidden or settings.gpu_layers == 0 or settings.engine_options.get("device") == "cpu"


def worker_python(engine: Engine, settings: Settings) -> str | None:
    """Return the Python that runs ``engine``: as the settings say, or that of its own environment; else the host's.

    Raises:
        ConfigError: as :meth:`Engine.complete_options` does.
    """
    if settings.worker_python is not None:
        return settings.worker_python
    python = _own_environment(engine, settings)
    return None if python is None else str(python)


def has_fallback(engine: Engine, settings: Settings) -> bool:
    """Whether :func:`worker_python` is that of a build for which the host's own Python can stand in."""
    is_build = settings.worker_python is None and _own_environment(engine, settings) is not None
    return is_build and not missing_modules(engine.name)


def _own_environment(engine: Engine, settings: Settings) -> Path | None:
    # A program of the user's is no part of an environment, and needs nothing of one.
    program = engine.program(engine.complete_options(settings.engine_options))
    return environment_of(engine.name, data_directory(settings)) if program is None else None


def visible_gpus(env: Mapping[str, str], gpus: Iterable[int]) -> tuple[int, ...]:
    """Return those of ``gpus`` that a worker with ``env`` sees: all, unless CUDA is told which."""
    named = env.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return tuple(gpus)
    visible = {int(part) for part in named.split(",") if part.strip().isdigit()}
    return tuple(gpu for gpu in gpus if gpu in visible)


def usable_gpus(engine: Engine, settings: Settings, room: Headroom | None) -> Mapping[int, int]:
    """Return those that the worker of ``engine`` could use, with the bytes that it may take of each."""
    if TRAITS[engine.name].gpu is None or not have_driver() or not finds_gpus(engine, settings):
        return {}
    found = gpus()
    rooms = (headroom_of_empty_machine(settings, found) if room is None else room).on(found)
    return {gpu: rooms[gpu] for gpu in visible_gpus(environment.current(), rooms)}


def finds_gpus(engine: Engine, settings: Settings) -> bool:
    env = {name: value.get_secret_value() for name, value in settings.worker_env.items()}
    python = worker_python(engine, settings) or sys.executable
    return engine.finds_gpus(python, engine.complete_options(settings.engine_options), env)

"""What a model's worker runs on: its Python, its engine options, its GPUs and the memory it finds; an unused GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelhost.config import environment
from modelhost.config.directories import data_directory
from modelhost.config.settings import Settings
from modelhost.config.value_types import parse_size
from modelhost.engines import TRAITS, installed
from modelhost.engines.base import Engine
from modelhost.models.files.memory_pools import GPU, RAM, Bytes
from modelhost.workers.gpus import Gpu, gpus, has_driver, installed_gpu
from modelhost.workers.machine import machine_memory

DEFAULT_BUDGET: Final = "90%"
MARGIN_SHARE: Final = 0.03
"""Of a GPU's memory, left free for what no estimate knows of: the driver, fragments, other programs that grow."""
LEAST_MARGIN_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What is freed for a model, and what limits it."""

    freed: Bytes = field(default_factory=dict)
    """What is in use now, and is freed before the model is loaded."""
    limits: Bytes = field(default_factory=dict)
    """What it may take at most: the budget without what pinned models take."""

    @property
    def freed_bytes(self) -> int:
        """Main memory that is freed."""
        return self.freed.get(RAM, 0)

    def on(self, gpus: Iterable[Gpu]) -> Mapping[int, int]:
        """Return the bytes of each of ``gpus``, as they are now, that a model may be given."""
        return {gpu.index: self._on(gpu) for gpu in gpus}

    def _on(self, gpu: Gpu) -> int:
        pool = f"{GPU}{gpu.index}"
        free = min(gpu.free_bytes + self.freed.get(pool, 0), gpu.total_bytes)
        margin = max(LEAST_MARGIN_BYTES, int(gpu.total_bytes * MARGIN_SHARE))
        return max(0, min(free - margin, self.limits.get(pool, gpu.total_bytes)))


def gpu_budget(settings: Settings, gpus: Iterable[Gpu]) -> Mapping[str, int]:
    """Return what all models together may take of ``gpus``, by pool."""
    share = parse_size(settings.gpu_memory_budget or DEFAULT_BUDGET)
    return {f"{GPU}{gpu.index}": share.of(gpu.total_bytes) for gpu in gpus}


def headroom_of_empty_machine(settings: Settings, gpus: Iterable[Gpu]) -> Headroom:
    """Return the memory of a machine on which nothing else runs, to describe a model that is not to be loaded yet."""
    gpus = tuple(gpus)
    return Headroom(freed={f"{GPU}{gpu.index}": gpu.total_bytes for gpu in gpus}, limits=gpu_budget(settings, gpus))


def memory_budget(settings: Settings) -> dict[str, int]:
    """Return what all models together may take, by pool."""
    found = {RAM: parse_size(settings.memory_budget or DEFAULT_BUDGET).of(machine_memory())}
    return {**found, **gpu_budget(settings, gpus())}


VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
NONE: Final = ("", "-1", "none", "void")
"""Values of the variable that hide every GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedGpu:
    """A GPU that is there while a model is computed on the CPU, because its engine was built for CPUs."""

    name: str
    engine: str
    way_out: str
    """The command that installs a build for it."""

    def line(self, model: str) -> str:
        """Return it as one line for a person."""
        return (
            f"{self.name} is not used: {self.engine} is installed in a build for CPUs, on which {model} runs. "
            f"To use the GPU: {self.way_out}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a model's worker runs on."""

    engine: Engine
    options: Mapping[str, Any]
    """The engine options of the settings, with those that the environment adds."""
    python: str | None
    """``None``: the host's own."""
    has_fallback: bool
    """Whether ``python`` is that of a build for which the host's own Python can stand in."""
    env: Mapping[str, str]
    """What the settings add to the environment."""

    @classmethod
    def of(cls, engine: Engine, settings: Settings) -> Runtime:
        """Return what ``settings`` have a worker of ``engine`` run on.

        Raises:
            ConfigError: the options name a program that is none.
        """
        options = engine.complete_options(settings.engine_options)
        own = None
        if settings.worker_python is None and engine.program(options) is None:
            # A program of the user's is no part of an environment, and needs nothing of one.
            own = installed.environment_of(engine.name, data_directory(settings))
            if own is None:
                options = engine.with_packaged_program(options)
        return cls(
            engine=engine,
            options=options,
            python=settings.worker_python if own is None else str(own),
            has_fallback=own is not None and not installed.missing_modules(engine.name),
            env={name: value.get_secret_value() for name, value in settings.worker_env.items()},
        )

    @property
    def finds_gpus(self) -> bool:
        """Whether the worker can compute on GPUs. Blocks at the first call."""
        return self.engine.finds_gpus(self.python or sys.executable, self.options, self.env)

    def usable_gpus(self, settings: Settings, headroom: Headroom | None) -> Mapping[int, int]:
        """Return the GPUs that the worker could use, with the bytes that it may take of each.

        ``headroom`` is the memory that it will find; ``None``: that of a machine on which nothing else runs.
        """
        if TRAITS[self.engine.name].gpu is None or not has_driver() or not self.finds_gpus:
            return {}
        found = gpus()
        rooms = (headroom_of_empty_machine(settings, found) if headroom is None else headroom).on(found)
        return {gpu: rooms[gpu] for gpu in visible_gpus(environment.current(), rooms)}

    def unused_gpu(self, settings: Settings) -> UnusedGpu | None:
        """Return the GPU that the model could be on with another build of its engine.

        ``None``: it finds GPUs, the machine has none, there is no such build of the engine, or the CPU was chosen.
        """
        support = TRAITS[self.engine.name].gpu
        if support is None or wants_cpu(settings):
            return None
        gpu = installed_gpu()
        if gpu is None or gpu.build not in support.builds or self.finds_gpus:
            return None
        program = self.engine.program(self.options)
        way_out = support.install_command.format(build=gpu.build)
        if program is not None:
            way_out = f"name a llama-server that is built for {gpu.build}, which {program} is not"
        return UnusedGpu(name=gpu.name, engine=self.engine.name, way_out=way_out)

    def layers_remark(self, settings: Settings) -> str | None:
        """Return that the layers which the settings place on GPUs are on the CPU, as the worker finds no GPU.

        ``None``: they place none, or it finds one. Blocks at the first call.
        """
        if not settings.gpu_layers or TRAITS[self.engine.name].gpu is None or self.finds_gpus:
            return None
        return f"gpu_layers: {settings.gpu_layers} has no effect, since {self.engine.name} finds no GPU"


def wants_cpu(settings: Settings) -> bool:
    """Whether the settings, or the environment, keep a model off GPUs."""
    own = settings.worker_env.get(VISIBLE)
    visible = environment.current().get(VISIBLE) if own is None else own.get_secret_value()
    is_hidden = visible is not None and visible.strip().lower() in NONE
    return is_hidden or settings.gpu_layers == 0 or settings.engine_options.get("device") == "cpu"


def visible_gpus(env: Mapping[str, str], gpus: Iterable[int]) -> tuple[int, ...]:
    """Return those of ``gpus`` that a worker with ``env`` sees: all, unless ``CUDA_VISIBLE_DEVICES`` limits them."""
    named = env.get(VISIBLE)
    if named is None:
        return tuple(gpus)
    visible = {int(part) for part in named.split(",") if part.strip().isdigit()}
    return tuple(gpu for gpu in gpus if gpu in visible)

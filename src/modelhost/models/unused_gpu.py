"""A GPU that is there while a model is computed on the CPU, because its engine was built for CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelhost.config import environment
from modelhost.config.settings import Settings
from modelhost.engines import ENGINES, TRAITS
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

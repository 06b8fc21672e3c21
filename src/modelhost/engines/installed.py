"""Which engines are installed, found out without importing them, and which of them suits a model's format.

An engine is in the host's Python, or in an environment of its own (:mod:`.environments`); the host's Python has
precedence.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from modelhost.engines import TRAITS
from modelhost.engines.environments import Recipe, folder_of, python_of, version_of, why_unusable
from modelhost.engines.traits import EngineFacts, EngineTraits, Machine, ModelFormat, Source
from modelhost.exchange.tasks import Task

TORCH_SECONDS: Final = 120.0


def missing_modules(engine: str) -> tuple[str, ...]:
    """Return the modules that ``engine`` needs and this Python does not find; empty if it is installed."""
    return tuple(name for name in TRAITS[engine].installation.modules if find_spec(name) is None)


def is_installed(engine: str, data_dir: Path | None = None) -> bool:
    """Whether ``engine`` is here; ``data_dir`` is where a host looks for environments."""
    return not missing_modules(engine) or environment_of(engine, data_dir) is not None


def environment_of(engine: str, data_dir: Path | None) -> Path | None:
    """Return the Python of the environment of ``engine``; ``None`` if it has none, or is in the host's Python.

    A build that was made for the machine is used although the host's Python has the engine's wheel.
    """
    installation = TRAITS[engine].installation
    if data_dir is None or (installation.builds is None and installation.environment is None):
        return None
    is_in_own_python = installation.builds is None and not missing_modules(engine)
    is_unused = is_in_own_python or why_environment_unused(engine, data_dir) is not None
    return None if is_unused else python_of(engine, data_dir)


def why_environment_unused(engine: str, data_dir: Path) -> str | None:
    """Return why the environment of ``engine`` is not used; ``None`` if it is, or if there is none."""
    builds = TRAITS[engine].installation.builds
    if builds is not None:
        # The look at the folder spares starts an import.
        return builds.why_unused(data_dir) if folder_of(engine, data_dir).exists() else None
    return why_unusable(engine, data_dir) if missing_modules(engine) else None


def with_environment() -> tuple[str, ...]:
    """Return the engines that cannot share the host's Python and have an environment of their own."""
    return tuple(name for name, traits in TRAITS.items() if traits.installation.environment is not None)


def recipe_for(engine: str, *, has_cuda: bool) -> Recipe:
    """Return what the environment of ``engine``, one of :func:`with_environment`, gets on this machine."""
    installation = TRAITS[engine].installation
    recipe = (installation.cuda_environment if has_cuda else None) or installation.environment
    assert recipe is not None
    return recipe


def default_engine(model_format: ModelFormat, *, has_cuda: bool = False) -> str:
    """Return the engine for ``model_format`` that suits this machine best, whether it is installed or not."""
    machine = _machine(has_cuda=has_cuda)
    return next(name for name, each in TRAITS.items() if model_format in each.formats and machine in each.best_on)


def engines_for(model_format: ModelFormat, *, has_cuda: bool = False) -> tuple[str, ...]:
    """Return the engines that read ``model_format``, the one that suits this machine best first."""
    machine = _machine(has_cuda=has_cuda)

    def order(engine: EngineTraits) -> tuple[bool, int]:
        return machine not in engine.best_on, engine.fallback_rank

    reading = [engine for engine in TRAITS.values() if model_format in engine.formats]
    return tuple(engine.name for engine in sorted(reading, key=order))


def reads_only(engine: str | None, model_format: ModelFormat) -> bool:
    return engine is not None and TRAITS[engine].formats == {model_format}


def serves(engine: str | None, source: Source) -> bool:
    """Whether the models of ``engine`` are of ``source``; of no engine, none are."""
    return engine is not None and engine in TRAITS and TRAITS[engine].serves == source


def serving(source: Source) -> str:
    """Return the first engine whose models are of ``source``."""
    return next(name for name, traits in TRAITS.items() if traits.serves == source)


def engine_with_layout(names: Iterable[str]) -> str | None:
    """Return the engine that alone reads a directory with files of these ``names``; ``None`` if there is none."""
    found = frozenset(names)
    return next((name for name, traits in TRAITS.items() if traits.recognises(found)), None)


def incomplete_layout(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the engine that would read a directory with files of these ``names``, and the file that it lacks for that.

    ``None`` if there is no such engine.
    """
    found = frozenset(names)
    return next(((name, file) for name, traits in TRAITS.items() if (file := traits.lacks(found))), None)


def engine_with_package(model: str | None, engine: str | None = None) -> str | None:
    """Return the engine for which ``model`` is the name of a package; ``None`` if it is none.

    Where ``engine`` has such models, no model means its first.
    """
    if model is None:
        return engine if engine is not None and engine in TRAITS and TRAITS[engine].packaged else None
    named = next((name for name, traits in TRAITS.items() if model in traits.packaged), None)
    return named if engine in (None, named) else None


def can_do(engine: str, task: Task, *, own_task: Task | None = None) -> bool:
    """Whether a model of ``engine`` can do ``task``, as far as is known before it is loaded.

    ``own_task`` is that of a model whose files say that it does nothing else.
    """
    if own_task is not None:
        return task == own_task
    return task in TRAITS[engine].can and task not in TRAITS[engine].kinds.values()


def kind_of(families: frozenset[str]) -> tuple[str, Task] | None:
    """Return the engine and the task of a model of ``families`` that writes no text; ``None`` for other models."""
    found = ((name, traits.kinds[each]) for name, traits in TRAITS.items() for each in families & traits.kinds.keys())
    return min(found, default=None)


def quantizing_by(option: str) -> str:
    """Return the engine whose engine option ``option`` names a format for the weights."""
    return next(
        name for name, traits in TRAITS.items() if traits.capabilities and traits.capabilities.quantizes_by == option
    )


def is_apple_silicon() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def _machine(*, has_cuda: bool) -> Machine:
    return "apple_silicon" if is_apple_silicon() else "cuda" if has_cuda else "other"


@cache
def torch_uses_gpus(python: str) -> bool:
    """Return whether the PyTorch of ``python`` finds an NVIDIA GPU. Checked once, in a process of its own: some
    seconds."""
    command = [python, "-c", "import torch; print(torch.cuda.is_available())"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_SECONDS, check=False)  # noqa: S603
    return finished.stdout.strip() == "True"


def how_to_install(engine: str) -> str:
    installation = TRAITS[engine].installation
    if installation.environment is not None:
        return install_command(engine)
    wanted = f"modelhost[{engine}]" if installation.has_extra else missing_modules(engine)[0]
    return f"pip install '{wanted}'"


def install_command(engine: str) -> str:
    """Return the command that makes the environment of ``engine``, or builds it for this machine."""
    return f"modelhost engines install {engine}"


def engine_facts(data_dir: Path | None = None) -> list[EngineFacts]:
    """Return what is known of each engine without starting one."""
    return [_facts(traits, data_dir) for traits in TRAITS.values()]


def _facts(traits: EngineTraits, data_dir: Path | None) -> EngineFacts:
    engine, builds = traits.name, traits.installation.builds
    facts = EngineFacts(name=engine, is_installed=False, reads=traits.reads, can=traits.can)
    if builds is not None and (replaced := builds.replaced(facts)) is not None:
        return replaced
    if data_dir is not None and (python := environment_of(engine, data_dir)) is not None:
        version, location = version_of(engine, data_dir), str(python.parents[1])
        facts = replace(facts, is_installed=True, version=version, location=location)
        return facts if builds is None else builds.described(facts, data_dir)
    unused = why_environment_unused(engine, data_dir) if data_dir is not None else None
    if builds is None:
        if unused is not None:
            return replace(facts, why_not=f"{unused}: {install_command(engine)}")
        return _in_own_python(facts, traits)
    facts = builds.packaged(facts) or _in_own_python(replace(facts, build="wheel"), traits)
    remark = f"The build that is here is not used: {unused}. Anew: {install_command(engine)}" if unused else None
    return replace(facts, build=facts.build if facts.is_installed else None, remark=remark)


def _in_own_python(facts: EngineFacts, traits: EngineTraits) -> EngineFacts:
    if missing := missing_modules(traits.name):
        return replace(facts, why_not=f"{', '.join(missing)} is not here: {how_to_install(traits.name)}")
    distribution = traits.installation.distribution
    if not distribution:
        return replace(facts, is_installed=True)
    spec = find_spec(distribution.replace("-", "_"))
    return replace(
        facts,
        is_installed=True,
        version=importlib.metadata.version(distribution),
        location=str(Path(spec.origin).parent) if spec is not None and spec.origin else None,
    )

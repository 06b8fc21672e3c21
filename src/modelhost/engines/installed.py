"""Which engines are installed, found out without importing them, and which of them a model gets.

An engine is in the host's Python, or (:mod:`.environments`) in an environment of its own; a Python that has it anyway
is as good.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from modelhost.engines.environments import BUILD_COMMAND, BUILT, ENVIRONMENTS, python_of, version_of
from modelhost.engines.llamacpp.installation import server_version
from modelhost.errors import ConfigError

MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "llamacpp": ("xllamacpp",),
    "mlx": ("mlx", "mlx_lm", "llguidance"),
    "transformers": ("torch", "transformers", "llguidance"),
    "vllm": ("vllm",),
    "mistralrs": ("mistralrs",),
    "remote": (),
    "scripted": (),
}
"""What an engine's worker imports beyond what modelhost itself needs. An engine with any has an extra of its name."""
FOR_SAFETENSORS: Final = ("mlx", "transformers", "vllm")
"""The engines that read safetensors and nothing else."""
READ_SAFETENSORS: Final = ("transformers", "mlx", "mistralrs", "vllm")
"""All that can, in the order in which they are taken where the best for the machine is not installed."""


def missing_modules(engine: str) -> tuple[str, ...]:
    """Return the modules that ``engine`` needs and this Python does not find; empty if it is installed."""
    return tuple(name for name in MODULES[engine] if find_spec(name) is None)


def is_installed(engine: str, data_dir: Path | None = None) -> bool:
    """Whether ``engine`` is here; ``data_dir`` is where a host looks for environments."""
    return not missing_modules(engine) or environment_of(engine, data_dir) is not None


def environment_of(engine: str, data_dir: Path | None) -> Path | None:
    """Return the Python of the environment of ``engine``; ``None`` if it has none, or is in the host's Python.

    A build of llama.cpp that was made for the machine is taken although the host's Python has its wheel.
    """
    if engine in BUILT:
        return None if data_dir is None or why_build_unused(engine, data_dir) else python_of(engine, data_dir)
    if data_dir is None or engine not in ENVIRONMENTS or not missing_modules(engine):
        return None
    return python_of(engine, data_dir)


def why_build_unused(engine: str, data_dir: Path) -> str | None:
    """Say why the build of ``engine`` in its environment is not used; ``None`` if it is, or if there is none."""
    if engine not in BUILT or python_of(engine, data_dir) is None:
        return None
    from modelhost.engines.llamacpp.record import why_unused  # noqa: PLC0415 (3 ms, and few machines have a build)

    return why_unused(data_dir)


def engines_for_safetensors(*, has_cuda: bool = False) -> tuple[str, ...]:
    """Return the engines that read safetensors, the one that suits this machine best first.

    That is MLX where it uses the GPU, which is on Apple silicon; vLLM where there is a GPU of NVIDIA's. Elsewhere vLLM
    comes last: it takes 2 GB and half a minute to start.
    """
    best = "mlx" if is_apple_silicon() else "vllm" if has_cuda else "transformers"
    return tuple(dict.fromkeys((best, *READ_SAFETENSORS)))


def is_apple_silicon() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def wanted_extra() -> str:
    """Return the extra to install for models in safetensors on this machine."""
    return "mlx" if is_apple_silicon() else "transformers"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What this machine has of an engine."""

    name: str
    is_installed: bool
    version: str | None = None
    location: str | None = None
    """The folder of its library."""
    reads: str = ""
    can: tuple[str, ...] = ()
    why_not: str | None = None
    build: str | None = None
    """Of an engine that can be built for the machine: ``wheel``, or what it was built for."""
    has_llguidance: bool | None = None
    features: tuple[str, ...] = ()
    """What the build computes with, as it said when it was checked."""
    factors: Mapping[str, float] | None = None
    """How many times as fast as the wheel the build was when it was checked."""
    remark: str | None = None
    """What could be better, and how."""


def how_to_install(engine: str) -> str:
    """Return the command that installs ``engine``."""
    if engine in ENVIRONMENTS:
        return f"modelhost engines install {engine}"
    wanted = f"modelhost[{engine}]" if engine in FOR_SAFETENSORS else missing_modules(engine)[0]
    return f"pip install '{wanted}'"


def engine_facts(data_dir: Path | None = None) -> list[EngineFacts]:
    """Return what is known of each engine without starting one."""
    return [_facts(name, data_dir) for name in MODULES]


def _facts(engine: str, data_dir: Path | None) -> EngineFacts:
    if engine == "llamacpp" and (server := _facts_of_server()) is not None:
        return server
    if data_dir is not None and (python := environment_of(engine, data_dir)) is not None:
        return _facts_of_environment(engine, data_dir, python)
    facts = _facts_of_own_python(engine)
    if engine not in BUILT:
        return facts
    unused = why_build_unused(engine, data_dir) if data_dir is not None else None
    remark = f"The build that is here is not used: {unused}. Anew: {BUILD_COMMAND}" if unused else None
    return replace(facts, build="wheel" if facts.is_installed else None, remark=remark)


def _facts_of_environment(engine: str, data_dir: Path, python: Path) -> EngineFacts:
    reads, can = _ABILITIES[engine]
    facts = EngineFacts(
        name=engine,
        is_installed=True,
        version=version_of(engine, data_dir),
        location=str(python.parents[1]),
        reads=reads,
        can=can,
    )
    if engine not in BUILT:
        return facts
    from modelhost.engines.llamacpp.record import read_record  # noqa: PLC0415 (as above)

    record = read_record(data_dir)
    assert record is not None  # or the build would not be used
    return replace(
        facts,
        build=record.build,
        has_llguidance=record.has_llguidance,
        features=record.features,
        factors=dict(record.factors),
    )


def _facts_of_own_python(engine: str) -> EngineFacts:
    missing = missing_modules(engine)
    reads, can = _ABILITIES[engine]
    why_not = None
    if missing:
        why_not = f"{', '.join(missing)} is not here: {how_to_install(engine)}"
    version = location = None
    if not missing and (distribution := _DISTRIBUTIONS.get(engine)):
        version = importlib.metadata.version(distribution)
        spec = find_spec(distribution.replace("-", "_"))
        location = str(Path(spec.origin).parent) if spec is not None and spec.origin else None
    return EngineFacts(
        name=engine,
        is_installed=not missing,
        version=version,
        location=location,
        reads=reads,
        can=can,
        why_not=why_not,
    )


def _facts_of_server() -> EngineFacts | None:
    """Return what is known of llama.cpp where the environment names a ``llama-server``."""
    reads, can = _ABILITIES["llamacpp"]
    try:
        found = server_version()
    except ConfigError as error:
        return EngineFacts(name="llamacpp", is_installed=False, reads=reads, can=can, why_not=error.message)
    if found is None:
        return None
    version, path = found
    return EngineFacts(name="llamacpp", is_installed=True, version=version, location=path, reads=reads, can=can)


_DISTRIBUTIONS: Final[Mapping[str, str]] = {
    "llamacpp": "xllamacpp",
    "mlx": "mlx-lm",
    "transformers": "transformers",
    "vllm": "vllm",
    "mistralrs": "mistralrs",
}
_TEXT: Final = ("chat", "completions", "tool calls", "JSON schema")
_ABILITIES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "llamacpp": ("GGUF", (*_TEXT, "embeddings", "rerank")),
    "mlx": ("safetensors", _TEXT),
    "transformers": ("safetensors", _TEXT),
    "vllm": ("safetensors", _TEXT),
    "mistralrs": ("safetensors, GGUF", _TEXT),
    "remote": ("URLs", (*_TEXT, "embeddings")),
    "scripted": ("scripts", ("tests", "benchmarks")),
}

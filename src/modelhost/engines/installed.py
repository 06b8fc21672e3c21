"""Which engines are installed with this Python, found out without importing them, and which of them a model gets."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "llamacpp": ("xllamacpp",),
    "mlx": ("mlx", "mlx_lm", "llguidance"),
    "transformers": ("torch", "transformers", "llguidance"),
    "scripted": (),
}
"""What an engine's worker imports beyond what modelhost itself needs. An engine with any has an extra of its name."""
FOR_SAFETENSORS: Final = ("mlx", "transformers")


def missing_modules(engine: str) -> tuple[str, ...]:
    """Return the modules that ``engine`` needs and this Python does not find; empty if it is installed."""
    return tuple(name for name in MODULES[engine] if find_spec(name) is None)


def is_installed(engine: str) -> bool:
    return not missing_modules(engine)


def safetensors_engine(is_there: Callable[[str], bool] = is_installed) -> str | None:
    """Return the engine for a model in safetensors on this machine; ``None`` if there is none.

    MLX comes first where it uses the GPU, which is on Apple silicon.
    """
    order = FOR_SAFETENSORS if is_apple_silicon() else tuple(reversed(FOR_SAFETENSORS))
    return next((engine for engine in order if is_there(engine)), None)


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


def engine_facts() -> list[EngineFacts]:
    """Return what is known of each engine without starting one."""
    return [_facts(name) for name in MODULES]


def _facts(engine: str) -> EngineFacts:
    missing = missing_modules(engine)
    reads, can = _ABILITIES[engine]
    why_not = None
    if missing:
        extra = engine if engine in FOR_SAFETENSORS else ""
        wanted = f"modelhost[{extra}]" if extra else missing[0]
        why_not = f"{', '.join(missing)} is not here: pip install '{wanted}'"
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


_DISTRIBUTIONS: Final[Mapping[str, str]] = {"llamacpp": "xllamacpp", "mlx": "mlx-lm", "transformers": "transformers"}
_TEXT: Final = ("chat", "completions", "tool calls", "JSON schema")
_ABILITIES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "llamacpp": ("GGUF", (*_TEXT, "embeddings", "rerank")),
    "mlx": ("safetensors", _TEXT),
    "transformers": ("safetensors", _TEXT),
    "scripted": ("scripts", ("tests", "benchmarks")),
}

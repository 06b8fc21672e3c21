"""The processor and GPU of a machine, and the build of llama.cpp that runs best on it.

The wheel runs on every processor of its kind: on x86-64 with AVX2 and no more, on ARM without anything beyond
ARMv8-A, and without GPUs other than Apple's. A build for the machine uses the rest.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, get_args

from modelhost.engines.llamacpp.features import GPU_FRAMEWORKS

Accelerator = Literal["cuda", "hip", "vulkan"]

ROOT: Final = Path("/")
ARCHITECTURES: Final[Mapping[str, str]] = {"AMD64": "x86_64", "arm64": "aarch64"}
"""Other names of the same architectures."""
COMPILED_FOR: Final = re.compile(
    r"(ssse3|sse4|avx|amx|fma|f16c|bmi|abm|adx|movbe|popcnt|aes|vaes|vpclmul|pclmul|gfni|sha|xop|tbm|rdseed|"
    r"asimd|sve|sme(2|_|$)|i8mm|bf16|fphp|atomics|lrcpc|fcma|jscvt|crc32|pmull|sb$|ssbs$)"
)
"""Prefixes of the flags for which a compiler generates instructions with ``-march=native``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """The processor of this machine. ``flags`` are those of ``/proc/cpuinfo``; empty without that file."""

    architecture: str
    name: str = ""
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What determines the best build."""

    processor: Processor
    accelerator: Accelerator | None = None
    """The framework that computes on the machine's GPU."""
    platform: str = sys.platform


def this_machine(accelerator: Accelerator | None) -> Machine:
    """Return this machine, with the ``accelerator`` that was found in it."""
    return Machine(processor=this_processor(), accelerator=accelerator)


@cache
def this_processor() -> Processor:
    """Return the processor of this machine."""
    return read_processor(ROOT, platform.machine())


def read_processor(root: Path, architecture: str) -> Processor:
    """Return the first processor in ``/proc/cpuinfo`` below ``root``."""
    about: dict[str, str] = {}
    path = root / "proc/cpuinfo"
    if path.exists():
        with path.open() as lines:
            # Line by line, to the first empty one: the kernel writes as much again for each of hundreds of cores.
            for line in lines:
                name, _, value = line.partition(":")
                if not name.strip():
                    break
                about[name.strip()] = value.strip()
    flags = about.get("flags") or about.get("Features") or ""
    return Processor(
        architecture=ARCHITECTURES.get(architecture, architecture),
        name=about.get("model name", ""),
        flags=frozenset(flags.split()),
    )


def compiled_for(flags: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``flags`` that code compiled for the processor may need to run."""
    return tuple(sorted(flag for flag in flags if COMPILED_FOR.match(flag)))


Build = Literal["native", "cuda", "hip", "vulkan", "metal"]

BUILD_COMMAND: Final = "modelhost engines install llamacpp"
"""Makes the build that fits the machine."""
BUILDS: Final[tuple[Build, ...]] = get_args(Build)
BUILDS_ON: Final[Mapping[str, tuple[Build, ...]]] = {
    "linux": ("native", "cuda", "hip", "vulkan"),
    "darwin": ("native", "metal"),
}
GPUS: Final = {"cuda": "a GPU of NVIDIA's", "hip": "a GPU of AMD's, and ROCm", "vulkan": "a GPU that Vulkan reaches"}
MEASURED: Final = "measured with AVX-512: prompts 1.2 to 1.9 times as fast, answers 1.1 times"
"""Of a native build over the wheel: 2 threads, 120 million weights in F16, Q8_0 and Q4_0, 2026-11-28."""
NOT_MEASURED: Final = "by how much has not been measured on such a machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature of processors that llama.cpp can use and its wheel does not."""

    flag: str
    title: str
    name: str
    """llama.cpp's name for it."""


LEFT_UNUSED: Final[Mapping[str, tuple[Feature, ...]]] = {
    "x86_64": (
        Feature(flag="avx512f", title="AVX-512", name="AVX512"),
        Feature(flag="avx_vnni", title="AVX-VNNI", name="AVX_VNNI"),
        Feature(flag="amx_int8", title="AMX", name="AMX_INT8"),
    ),
    "aarch64": (
        Feature(flag="asimddp", title="dot products", name="DOTPROD"),
        Feature(flag="i8mm", title="8-bit matrix products", name="MATMUL_INT8"),
        Feature(flag="sve", title="SVE", name="SVE"),
    ),
}
"""By architecture. The wheel is compiled for AVX2 and for ARMv8-A."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BetterBuild:
    """A build that would be faster on this machine than the current one."""

    build: Build
    reason: str
    """What the machine has that is not used: "this processor has AVX-512"."""
    gain: str
    """How much faster, as far as that was measured."""
    command: str = BUILD_COMMAND

    def __str__(self) -> str:
        return f"llama.cpp could be faster here: {self.reason} ({self.gain}): {self.command}"


def better_build(machine: Machine, has: Collection[str] = ()) -> BetterBuild | None:
    """Return the build that suits ``machine`` better than one with the features ``has``; ``None`` if there is none.

    ``has``: as :func:`modelhost.engines.llamacpp.features.features_in` returns them; empty stands for the wheel.
    """
    if machine.platform != "linux":
        return None  # wheels for macOS are compiled for Apple's processors, and with Metal
    if not GPU_FRAMEWORKS.isdisjoint(has):
        return None
    if (build := machine.accelerator) is not None:
        return BetterBuild(
            build=build, reason=f"there is {GPUS[build]}, which this build cannot use", gain=NOT_MEASURED
        )
    if unused := _unused_features(machine.processor.architecture, machine.processor.flags, has):
        return BetterBuild(build="native", reason=_processor_has(unused), gain=_gain(unused))
    return None


def why_unavailable(build: Build, machine: Machine) -> str | None:
    """Return why ``build`` is not available on ``machine``; ``None`` if it can be tried."""
    there_are = BUILDS_ON.get(machine.platform, ())
    if not there_are:
        return "llama.cpp is built on Linux and macOS; on Windows, use its Subsystem for Linux"
    if build not in there_are:
        return f"there is no {build} on this operating system: --build takes {' or '.join(there_are)} here"
    return None


def _unused_features(architecture: str, flags: Collection[str], has: Collection[str] = ()) -> tuple[Feature, ...]:
    """Return the features of a processor with ``flags`` that a build with the features ``has`` does not use."""
    known = LEFT_UNUSED.get(architecture, ())
    return tuple(feature for feature in known if feature.flag in flags and feature.name not in has)


def _processor_has(unused: tuple[Feature, ...]) -> str:
    *first, last = [feature.title for feature in unused]
    return f"this processor has {', '.join(first)}{' and ' if first else ''}{last}, which this build does not use"


def _gain(unused: tuple[Feature, ...]) -> str:
    return MEASURED if any(feature.name == "AVX512" for feature in unused) else NOT_MEASURED

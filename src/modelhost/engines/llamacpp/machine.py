"""The processor and GPU of a machine, and the build of llama.cpp that runs best on it.

The wheel runs on every processor of its kind: on x86-64 with AVX2 and no more, on ARM without anything beyond
ARMv8-A, and without GPUs other than Apple's. A build for the machine uses the rest.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, Literal

from modelhost.engines.llamacpp.features import GPU_FRAMEWORKS
from modelhost.engines.llamacpp.installation import features_of
from modelhost.engines.traits import BetterBuild, Build, EngineFacts

Accelerator = Literal["cuda", "hip", "vulkan"]

ROOT: Final = Path("/")
ARCHITECTURES: Final[Mapping[str, str]] = {"AMD64": "x86_64", "arm64": "aarch64"}
"""Other names of the same architectures."""
COMPILED_FOR: Final = re.compile(
    r"(ssse3|sse4|avx|fma|f16c|bmi|abm|adx|movbe|popcnt|aes|vaes|vpclmul|pclmul|gfni|sha|xop|tbm|rdseed|"
    r"asimd|sve|sme(2|_|$)|i8mm|bf16|fphp|atomics|lrcpc|fcma|jscvt|crc32|pmull|sb$|ssbs$)"
)
"""Prefixes of the flags for which a compiler generates instructions with ``-march=native`` and without AMX."""


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


BUILD_COMMAND: Final = "modelhost engines install llamacpp"
"""Makes the build that fits the machine."""
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
    ),
    "aarch64": (
        Feature(flag="asimddp", title="dot products", name="DOTPROD"),
        Feature(flag="i8mm", title="8-bit matrix products", name="MATMUL_INT8"),
        Feature(flag="sve", title="SVE", name="SVE"),
    ),
}
"""By architecture. The wheel is compiled for AVX2 and for ARMv8-A. Builds use no AMX: see ``WITHOUT_AMX`` of
:mod:`modelhost.engines.llamacpp.build`."""


def _better(build: Build, reason: str, gain: str) -> BetterBuild:
    return BetterBuild(engine="llama.cpp", build=build, reason=reason, gain=gain, command=BUILD_COMMAND)


def better_build(machine: Machine, has: Collection[str] = ()) -> BetterBuild | None:
    """Return the build that suits ``machine`` better than one with the features ``has``; ``None`` if there is none.

    ``has``: as :func:`modelhost.engines.llamacpp.features.features_in` returns them; empty stands for the wheel.
    """
    if machine.platform != "linux":
        return None  # wheels for macOS are compiled for Apple's processors, and with Metal
    if not GPU_FRAMEWORKS.isdisjoint(has):
        return None
    if (build := machine.accelerator) is not None:
        return _better(build, f"there is {GPUS[build]}, which this build cannot use", NOT_MEASURED)
    if unused := _unused_features(machine.processor.architecture, machine.processor.flags, has):
        return _better("native", _processor_has(unused), _gain(unused))
    return None


def faster_build(accelerator: Accelerator | None, has: Collection[str], *, is_built: bool) -> BetterBuild | None:
    """As :func:`better_build`, for this machine; ``is_built``: the current build was compiled on it."""
    better = better_build(this_machine(accelerator), has)
    # A compiler that is older than the processor may leave some of it unused: to build it again would not help.
    return None if better is not None and better.build == "native" and is_built else better


def advised(facts: EngineFacts, accelerator: Accelerator | None) -> EngineFacts:
    """Return ``facts`` with advice on the best build for this machine as a remark, if it is another one."""
    machine = this_machine(accelerator)
    if facts.remark is not None or facts.build is None or better_build(machine) is None:
        return facts  # without a build, it is a llama-server of the user's
    better = better_build(machine, facts.features or features_of(sys.executable))
    is_there = better is None or better.build == facts.build or (better.build == "native" and facts.build == "packaged")
    return facts if is_there else replace(facts, remark=str(better))


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

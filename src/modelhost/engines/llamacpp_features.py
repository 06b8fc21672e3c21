"""What a build of llama.cpp computes with, and what a processor offers that a build may leave unused.

Names of processors' features are those of ``/proc/cpuinfo``; those of builds are llama.cpp's own
(``ggml_backend_cpu_get_features``): https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-cpu/ggml-cpu.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

GPU_FRAMEWORKS: Final = frozenset({"CUDA", "ROCm", "Vulkan", "MTL", "Metal", "SYCL"})
"""The names of llama.cpp's GPU devices, without their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature of processors that llama.cpp computes with, and that its wheel does without."""

    flag: str
    title: str
    name: str
    """llama.cpp's."""


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

COMPILED_FOR: Final = re.compile(
    r"(ssse3|sse4|avx|amx|fma|f16c|bmi|abm|adx|movbe|popcnt|aes|vaes|vpclmul|pclmul|gfni|sha|xop|tbm|rdseed|"
    r"asimd|sve|sme(2|_|$)|i8mm|bf16|fphp|atomics|lrcpc|fcma|jscvt|crc32|pmull|sb$|ssbs$)"
)
"""The beginnings of the flags for which a compiler writes instructions when it compiles for the processor at hand."""


def features_in(system_info: str, devices: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the features that llama.cpp says it has, and the frameworks of its GPUs.

    ``system_info`` looks like ``CUDA : ARCHS = 900 | CPU : SSE3 = 1 | AVX2 = 1 |``, ``devices`` are ``CUDA0``, ``CPU``.
    """
    found = []
    for part in system_info.split("|"):
        name, _, value = part.rpartition(":")[2].partition("=")
        if name.strip() and value.strip() not in ("", "0"):
            found.append(name.strip())
    frameworks = {device.rstrip("0123456789") for device in devices}
    return (*dict.fromkeys(found), *sorted(frameworks & GPU_FRAMEWORKS))


def unused_features(architecture: str, flags: Collection[str], has: Collection[str] = ()) -> tuple[Feature, ...]:
    """Return what a processor with ``flags`` offers and a build with the features ``has`` does without."""
    known = LEFT_UNUSED.get(architecture, ())
    return tuple(feature for feature in known if feature.flag in flags and feature.name not in has)


def compiled_for(flags: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``flags`` that what is compiled for the processor may need to run."""
    return tuple(sorted(flag for flag in flags if COMPILED_FOR.match(flag)))

"""What a build of llama.cpp computes with, in its own words (``ggml_backend_cpu_get_features``):
https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-cpu/ggml-cpu.cpp.

Workers import this: it stays small.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

GPU_FRAMEWORKS: Final = frozenset({"CUDA", "ROCm", "Vulkan", "MTL", "Metal", "SYCL"})
"""The names of llama.cpp's GPU devices, without their numbers."""


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

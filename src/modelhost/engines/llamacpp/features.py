"""The features of a build of llama.cpp, by its own names (``ggml_backend_cpu_get_features``):
https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-cpu/ggml-cpu.cpp.

Workers import this module, so that it stays small.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

GPU_FRAMEWORKS: Final = frozenset({"CUDA", "ROCm", "Vulkan", "MTL", "Metal", "SYCL"})
"""The names of llama.cpp's GPU devices, without their numbers."""


PART_BYTES: Final = 1 << 16
LLGUIDANCE: Final = "LLGUIDANCE"
"""The feature of a worker that accepts grammars of llguidance."""
NO_LLGUIDANCE: Final = (b"llguidance is not enabled", b"-DLLAMA_LLGUIDANCE=ON")
"""Parts of the error messages of builds without llguidance. The second is older, and left out where a linker drops
what is not called."""
OVERLAP: Final = max(map(len, NO_LLGUIDANCE))


def has_llguidance(library: Path) -> bool:
    """Return whether the build of llama.cpp in the file ``library`` accepts grammars of llguidance.

    Trying is not possible: a build that does not ends its process.
    """
    end = b""
    with library.open("rb") as file:
        while part := file.read(PART_BYTES):  # if mapped as a whole, it would count as the worker's memory
            if any(message in end + part for message in NO_LLGUIDANCE):
                return False
            end = part[-OVERLAP:]
    return True


def features_in(system_info: str, devices: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the features that llama.cpp reports, and the frameworks of its GPUs.

    ``system_info`` looks like ``CUDA : ARCHS = 900 | CPU : SSE3 = 1 | AVX2 = 1 |``, ``devices`` are ``CUDA0``, ``CPU``.
    """
    found = []
    for part in system_info.split("|"):
        name, _, value = part.rpartition(":")[2].partition("=")
        if name.strip() and value.strip() not in ("", "0"):
            found.append(name.strip())
    frameworks = {device.rstrip("0123456789") for device in devices}
    return (*dict.fromkeys(found), *sorted(frameworks & GPU_FRAMEWORKS))

"""Where the project of llama.cpp's wheel publishes those for accelerators
(https://github.com/xorbitsai/xllamacpp#installation): an index for each version of a framework."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path
from typing import Final

from modelhost.engines.llamacpp_choice import Build

WHEELS: Final = "https://xorbitsai.github.io/xllamacpp/whl"
CUDA: Final = (((13, 2), "cu132"), ((12, 8), "cu128"))
"""The newest first: a driver runs what was made for its version of CUDA, and for earlier ones."""
ROCM: Final = (((7, 2), "rocm-7.2.4"), ((6, 4), "rocm-6.4.1"))
"""A wheel is for one version of ROCm."""
ROCM_VERSION: Final = Path("/opt/rocm/.info/version")


def wheel_index(
    build: Build, wheels: str = WHEELS, cuda: tuple[int, int] | None = None, rocm_version: Path = ROCM_VERSION
) -> str | None:
    """Return the index that has wheels of ``build`` for this machine; ``None`` if it has to be built.

    ``cuda`` is the version of CUDA that the driver is made for.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    folder = None
    if build == "cuda" and cuda is not None:
        folder = next((name for version, name in CUDA if cuda >= version), None)
    elif build == "hip":
        folder = next((name for version, name in ROCM if _rocm(rocm_version) == version), None)
    elif build == "vulkan":
        folder = "vulkan"
    return f"{wheels.rstrip('/')}/{folder}" if folder else None


def _rocm(version: Path) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version.read_text()) if version.is_file() else None
    return (int(found[1]), int(found[2])) if found else None

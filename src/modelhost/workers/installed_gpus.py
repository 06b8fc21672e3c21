"""Which GPU is in the machine, whatever engines can make of it: to say so where a model is computed beside one.

Files: https://docs.kernel.org/gpu/amdgpu/driver-misc.html and https://docs.kernel.org/PCI/sysfs-pci.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from modelhost.workers.control_groups import ROOT, number_in, text_of
from modelhost.workers.gpus import gpus

Build = Literal["cuda", "hip", "vulkan"]
AMD, INTEL = "0x1002", "0x8086"
ON_BOARD: Final = re.compile(r"[0-9a-f]{4}:00:")
"""The bus of what is part of the processor, as a PCI address begins."""
LEAST_BYTES: Final = 2 << 30
"""Of an AMD GPU: one that is part of the processor has less of its own, and computes hardly faster."""
COMPUTING: Final = re.compile(r"^simd_count [1-9]", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledGpu:
    """A GPU, and the build of llama.cpp that computes on it."""

    name: str
    build: Build


def installed_gpu(root: Path = ROOT) -> InstalledGpu | None:
    """Return the GPU of this machine, the first of several; ``None`` if there is none worth computing on."""
    nvidia = next(iter(gpus()), None)
    if nvidia is not None:
        return InstalledGpu(name=nvidia.name, build="cuda")
    return next(_cards(root), None)


def _cards(root: Path) -> Iterator[InstalledGpu]:
    for card in sorted((root / "sys/class/drm").glob("card[0-9]*/device")):
        vendor = text_of(card / "vendor").strip()
        if vendor == AMD and (number_in(card / "mem_info_vram_total") or 0) >= LEAST_BYTES:
            name = text_of(card / "product_name").strip() or "an AMD GPU"
            yield InstalledGpu(name=name, build="hip" if _has_rocm(root) else "vulkan")
        elif vendor == INTEL and not ON_BOARD.match(card.resolve().name):
            yield InstalledGpu(name="an Intel GPU", build="vulkan")


def _has_rocm(root: Path) -> bool:
    """Whether the kernel's part of ROCm knows a GPU; processors are among its nodes, too."""
    nodes = (root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")
    return any(COMPUTING.search(text_of(node)) for node in nodes)

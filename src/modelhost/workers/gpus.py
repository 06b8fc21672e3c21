"""The GPUs of this machine: NVIDIA's through NVML, and any other that an engine could compute on.

Without NVIDIA's driver there are none of its GPUs, which is no error and costs a look at three paths. Other GPUs are
read from files of the kernel: https://docs.kernel.org/gpu/amdgpu/driver-misc.html and
https://docs.kernel.org/PCI/sysfs-pci.html.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from modelhost import lazy
from modelhost.logs import get_logger
from modelhost.workers.machine import ROOT, kernel_number, kernel_text

log = get_logger(__name__)

DEVICES = (Path("/dev/nvidiactl"), Path("/dev/nvidia0"), Path("/dev/dxg"))  # the last is Windows' subsystem for Linux
PID_NAMESPACE = Path("/proc/self/ns/pid")
FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of linux/proc_ns.h
POLL_SECONDS = 0.05
BACK_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU at one moment. ``index`` is NVML's, by the bus; CUDA's with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int


class Nvml(Protocol):
    """The part of the module ``pynvml`` that is used."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802 (NVML's names)
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlSystemGetCudaDriverVersion(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Any: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: Any, /) -> str: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: Any, /) -> Any: ...  # noqa: N802
    def nvmlDeviceGetUtilizationRates(self, handle: Any, /) -> Any: ...  # noqa: N802
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any, /) -> Sequence[Any]: ...  # noqa: N802
    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Any, /) -> Sequence[Any]: ...  # noqa: N802


class Driver:
    """NVML, initialised."""

    def __init__(self, nvml: Nvml, *, knows_our_pids: bool) -> None:
        self._nvml = nvml
        self._knows_our_pids = knows_our_pids

    def gpus(self) -> tuple[Gpu, ...]:
        """Return the GPUs as they are now; one that does not answer is logged and left out."""
        return tuple(gpu for index in range(self._count()) if (gpu := self._gpu(index)))

    def bytes_by_gpu(self, pids: Collection[int]) -> Mapping[int, int] | None:
        """Return the memory that the processes ``pids`` use of each GPU; ``None`` if it is unknown.

        It is unknown in a container with its own pid namespace, since NVML lists the machine's pids; under Windows'
        subsystem for Linux; and on a GPU divided by MIG without privileges.
        """
        if not self._knows_our_pids:
            return None
        found: dict[int, int] = {}
        try:
            for index in range(self._nvml.nvmlDeviceGetCount()):
                sizes = self._bytes_by_pid(index)
                ours = [sizes[pid] for pid in pids if pid in sizes]
                if None in ours:
                    return None
                if ours:
                    found[index] = sum(size or 0 for size in ours)
        except self._nvml.NVMLError as error:
            log.debug("gpu_processes_unknown", error=str(error))
            return None
        return found

    def utilization(self, gpus: Sequence[int]) -> float | None:
        """Return the average utilization of ``gpus`` in the last moment, 0 to 1.

        ``None`` without any, and where it is unknown: divided by MIG, or under Windows' subsystem for Linux.
        """
        try:
            handles = [self._nvml.nvmlDeviceGetHandleByIndex(gpu) for gpu in gpus]
            percents = [int(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu) for handle in handles]
        except self._nvml.NVMLError as error:
            log.debug("gpu_utilization_unknown", error=str(error))
            return None
        return sum(percents) / len(percents) / 100 if percents else None

    def cuda_version(self) -> tuple[int, int] | None:
        """Return the newest version of CUDA that the driver supports; ``None`` if it is unknown."""
        try:
            version = self._nvml.nvmlSystemGetCudaDriverVersion()  # 12080 for 12.8
        except self._nvml.NVMLError as error:
            log.debug("cuda_version_unknown", error=str(error))
            return None
        return version // 1000, version % 1000 // 10

    def _count(self) -> int:
        try:
            return self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            log.warning("gpus_unknown", error=str(error))
            return 0

    def _gpu(self, index: int) -> Gpu | None:
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            name = self._nvml.nvmlDeviceGetName(handle)
        except self._nvml.NVMLError as error:
            log.warning("gpu_unknown", gpu=index, error=str(error))
            return None
        return Gpu(index=index, name=name, total_bytes=int(memory.total), free_bytes=int(memory.free))

    def _bytes_by_pid(self, index: int) -> dict[int, int | None]:
        # A process that computes and draws (as with Vulkan) is in both lists, each time with all of its memory.
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        drawing = self._nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)
        computing = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        return {process.pid: process.usedGpuMemory for process in (*drawing, *computing)}


def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs of this machine as they are now. The first call takes 0.1 s where there are any."""
    found = driver()
    return found.gpus() if found else ()


def cuda_version() -> tuple[int, int] | None:
    """As :meth:`Driver.cuda_version`; ``None`` without a driver, too."""
    found = driver()
    return found.cuda_version() if found else None


def bytes_by_gpu(pids: Collection[int]) -> Mapping[int, int] | None:
    """As :meth:`Driver.bytes_by_gpu`; ``None`` without a driver, too."""
    found = driver()
    return found.bytes_by_gpu(pids) if found else None


def utilization(gpus: Sequence[int]) -> float | None:
    """As :meth:`Driver.utilization`; ``None`` without a driver, too."""
    found = driver() if gpus else None
    return found.utilization(gpus) if found else None


async def wait_for_freed_memory(pids: Collection[int], *, seconds: float = BACK_SECONDS) -> bool:
    """Wait until no GPU counts memory for ``pids``, which have ended; return whether that was within ``seconds``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while await asyncio.to_thread(bytes_by_gpu, pids):  # noqa: ASYNC110 (the driver has no event)
                await asyncio.sleep(POLL_SECONDS)
            return True
    return False


def has_driver() -> bool:
    """Return whether the device files of a driver exist; cheap enough to be called anywhere."""
    return any(path.exists() for path in DEVICES)


@cache
def driver() -> Driver | None:
    """Return the driver, loaded at the first call; ``None`` where there is none."""
    if not has_driver():
        return None
    return connect(lazy.pynvml)


def connect(nvml: Nvml) -> Driver | None:
    """Return the driver of ``nvml``; ``None`` if it cannot be initialised, which is logged."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.warning("gpus_unknown", error=str(error))
        return None
    return Driver(nvml, knows_our_pids=_are_pids_the_machines())


def _are_pids_the_machines() -> bool:
    if sys.platform != "linux":
        return True
    try:
        return str(PID_NAMESPACE.readlink()) == FIRST_PID_NAMESPACE
    except OSError:
        return False


Build = Literal["cuda", "hip", "vulkan"]
AMD, INTEL = "0x1002", "0x8086"
ON_BOARD: Final = re.compile(r"[0-9a-f]{4}:00:")
"""The beginning of the PCI address of an integrated GPU."""
LEAST_BYTES: Final = 2 << 30
"""Of an AMD GPU: an integrated one has less, and computes hardly faster than the processor."""
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
        vendor = kernel_text(card / "vendor").strip()
        if vendor == AMD and (kernel_number(card / "mem_info_vram_total") or 0) >= LEAST_BYTES:
            name = kernel_text(card / "product_name").strip() or "an AMD GPU"
            yield InstalledGpu(name=name, build="hip" if _has_rocm(root) else "vulkan")
        elif vendor == INTEL and not ON_BOARD.match(card.resolve().name):
            yield InstalledGpu(name="an Intel GPU", build="vulkan")


def _has_rocm(root: Path) -> bool:
    """Whether the kernel's part of ROCm lists a GPU; its nodes include processors."""
    nodes = (root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")
    return any(COMPUTING.search(kernel_text(node)) for node in nodes)

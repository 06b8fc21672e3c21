"""What NVIDIA's GPUs are doing, as NVML reports it: load, memory, temperature, power, clocks and processes.

Each value that a GPU does not report is ``None``: consumer cards have no performance counters, virtual ones no
temperature. https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from modelhost import lazy
from modelhost.logs import get_logger
from modelhost.workers.gpus import driver

log = get_logger(__name__)

T = TypeVar("T")
GPM_SECONDS: Final = 0.1
"""Between the two samples of the performance counters; NVML wants at least so many."""
MILLIWATTS_PER_WATT: Final = 1000
PERCENT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process on a GPU, by the machine's number for it."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuStats:
    """One GPU at one moment; shares are 0 to 1."""

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    utilization: float | None = None
    """The share of the last moment in which it computed anything."""
    sm_utilization: float | None = None
    """The share of its multiprocessors that were busy; from Hopper on."""
    tensor_utilization: float | None = None
    """The share of time in which its tensor cores were busy; from Hopper on."""
    temperature_c: int | None = None
    warning_c: int | None = None
    """The highest temperature of normal operation."""
    max_c: int | None = None
    """The temperature from which on it slows itself down."""
    power_w: float | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None
    """What it has used since the driver was loaded."""
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    processes: tuple[GpuProcess, ...] | None = None


def gpu_stats(*, with_counters: bool = False) -> tuple[GpuStats, ...]:
    """Return the GPUs of this machine; none without NVIDIA's driver. Blocks, with counters for 0.1 s a GPU."""
    return read_stats(lazy.pynvml, with_counters=with_counters) if driver() is not None else ()


async def energy_joules() -> float | None:
    """Return what the GPUs of this machine have used, of those that report it; ``None`` if none does."""
    stats = await asyncio.to_thread(gpu_stats)
    known = [gpu.energy_j for gpu in stats if gpu.energy_j is not None]
    return sum(known) if known else None


def read_stats(nvml: Any, *, with_counters: bool = False) -> tuple[GpuStats, ...]:
    """Return the GPUs of ``nvml``, the module ``pynvml``, initialised; one that does not answer is left out."""
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            found.append(_stats(nvml, index, handle, with_counters=with_counters))
        except nvml.NVMLError as error:
            log.warning("gpu_unknown", gpu=index, error=str(error))
    return tuple(found)


def _stats(nvml: Any, index: int, handle: Any, *, with_counters: bool) -> GpuStats:
    def known(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except nvml.NVMLError as error:
            log.debug("gpu_value_unknown", gpu=index, error=str(error))
            return None

    def watts(read: Callable[[Any], int]) -> float | None:
        milliwatts = known(lambda: read(handle))
        return None if milliwatts is None else milliwatts / MILLIWATTS_PER_WATT

    def threshold(kind: int) -> int | None:
        return known(lambda: int(nvml.nvmlDeviceGetTemperatureThreshold(handle, kind)))

    def clock(kind: int) -> int | None:
        return known(lambda: int(nvml.nvmlDeviceGetClockInfo(handle, kind)))

    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    sm, tensor = (known(lambda: _counters(nvml, handle)) if with_counters else None) or (None, None)
    energy = known(lambda: int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)))
    return GpuStats(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        total_bytes=int(memory.total),
        used_bytes=int(memory.total) - int(memory.free),
        utilization=known(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / PERCENT),
        sm_utilization=sm,
        tensor_utilization=tensor,
        temperature_c=known(lambda: int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
        warning_c=threshold(nvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX),
        max_c=threshold(nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        power_w=watts(nvml.nvmlDeviceGetPowerUsage),
        power_limit_w=watts(nvml.nvmlDeviceGetEnforcedPowerLimit),
        energy_j=None if energy is None else energy / 1000,
        sm_clock_mhz=clock(nvml.NVML_CLOCK_SM),
        memory_clock_mhz=clock(nvml.NVML_CLOCK_MEM),
        processes=known(lambda: _processes(nvml, handle)),
    )


def _processes(nvml: Any, handle: Any) -> tuple[GpuProcess, ...]:
    # A process that computes and draws is in both lists, each time with all of its memory.
    drawing: Sequence[Any] = nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)
    computing: Sequence[Any] = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    by_pid = {process.pid: process.usedGpuMemory for process in (*drawing, *computing)}
    return tuple(GpuProcess(pid=pid, used_bytes=size) for pid, size in sorted(by_pid.items()))


def _counters(nvml: Any, handle: Any) -> tuple[float, float] | None:
    """Return the activity of the multiprocessors and of the tensor cores; ``None`` if the GPU has no counters."""
    if not nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
        return None
    samples = [nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()]
    try:
        nvml.nvmlGpmSampleGet(handle, samples[0])
        time.sleep(GPM_SECONDS)
        nvml.nvmlGpmSampleGet(handle, samples[1])
        wanted = (nvml.NVML_GPM_METRIC_SM_UTIL, nvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL)
        request = nvml.c_nvmlGpmMetricsGet_t()
        request.version, request.numMetrics = nvml.NVML_GPM_METRICS_GET_VERSION, len(wanted)
        request.sample1, request.sample2 = samples
        for place, metric in enumerate(wanted):
            request.metrics[place].metricId = metric
        nvml.nvmlGpmMetricsGet(request)
        sm, tensor = (request.metrics[place].value / PERCENT for place in range(len(wanted)))
        return sm, tensor
    finally:
        for sample in samples:
            nvml.nvmlGpmSampleFree(sample)

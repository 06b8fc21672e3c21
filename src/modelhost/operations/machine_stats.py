"""The operations on the machine: what its GPUs are doing, and who uses its memory."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import psutil
from pydantic import Field

from modelhost.errors import InvalidRequest
from modelhost.models.files.gguf_needs import estimate_parts
from modelhost.models.files.memory_pools import GPU
from modelhost.operations.operation import (
    HttpRoute,
    NoParameters,
    OnProgress,
    Operation,
    Parameters,
    Result,
    TextList,
    split_list,
)
from modelhost.operations.reports import BYTES_PER_MB
from modelhost.workers.gpu_stats import GpuStats, gpu_stats
from modelhost.workers.memory import measure_self, memory_pressure, swapped_bytes

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.models.residency.hosted import HostedModel


_WHOLE: Final = re.compile(r"-?[0-9]{1,4000}")


def _numbers(value: Any) -> Any:
    found = split_list(value)
    if isinstance(found, list):
        return [int(each) if isinstance(each, str) and _WHOLE.fullmatch(each) else each for each in found]
    return found


class GpuParameters(Parameters):
    """Which GPUs."""

    gpu_ids: Annotated[list[int] | None, TextList(_numbers)] = Field(
        default=None, description="Only these GPUs. Default: all."
    )
    include_temperature: bool = Field(default=True, strict=False, description="Whether the result has temperatures.")
    include_power: bool = Field(default=True, strict=False, description="Whether the result has power.")


class GpuMemory(Result):
    """The memory of a GPU."""

    used_mb: int
    total_mb: int
    utilization: float = Field(description="The share in use, 0 to 1.")


class GpuCompute(Result):
    """What a GPU computes, each 0 to 1; `null` where it does not report it."""

    utilization: float | None = Field(description="Share of the last moment in which it computed anything.")
    sm_utilization: float | None = Field(description="Share of its multiprocessors that were busy; from Hopper on.")
    tensor_utilization: float | None = Field(description="Share of time its tensor cores were busy; from Hopper on.")


class GpuTemperature(Result):
    """Temperatures in degrees Celsius."""

    current_c: int | None
    max_c: int | None = Field(description="The GPU slows itself down from here on.")
    warning_c: int | None = Field(description="The highest temperature of normal operation.")


class GpuPower(Result):
    """Power in watts."""

    current_w: float | None
    max_w: float | None = Field(description="The limit in force.")
    efficiency: float | None = Field(
        description="Tokens that the host generated per joule of all its GPUs in the last minute, relative to the "
        "best minute since its start; `null` before a minute with tokens, or if the GPU does not report its energy."
    )


class GpuClocks(Result):
    """Clocks in MHz."""

    sm_mhz: int | None
    memory_mhz: int | None


class GpuProcessReport(Result):
    """A process on a GPU."""

    pid: int
    used_mb: int | None


class GpuReport(Result):
    """One GPU now."""

    id: int = Field(description="Its number in the order of the bus.")
    name: str
    memory: GpuMemory
    compute: GpuCompute
    temperature: GpuTemperature | None = Field(description="`null` if not requested.")
    power: GpuPower | None = Field(description="`null` if not requested.")
    clocks: GpuClocks
    processes: list[GpuProcessReport] | None = Field(description="`null` if unknown.")


class GpuList(Result):
    """The GPUs of the machine; none without NVIDIA's driver."""

    gpus: list[GpuReport]


class GpuMemoryStats(Result):
    """The memory of all GPUs together; `null` is unknown, or not there."""

    allocated_mb: int | None = Field(description="What the workers of the host use.")
    cached_mb: int | None = Field(description="What engines keep for later use, as far as they report it.")
    reserved_mb: int | None = Field(description="What all processes use.")
    free_mb: int | None
    fragmentation_ratio: float | None = Field(
        description="1 - largest free block / free memory, within what engines keep for later use, as far as they "
        "report both."
    )


class SystemMemoryStats(Result):
    """The memory of the machine."""

    process_mb: int = Field(description="The host and its workers.")
    host_mb: int = Field(description="The host alone.")
    available_mb: int
    swap_mb: int = Field(description="Swap in use.")
    pressure: float | None = Field(
        default=None,
        description="Share of the last 10 seconds in which a process waited for memory, 0 to 1; `null` where the "
        "system does not report it.",
    )


class ModelMemoryStats(Result):
    """The memory of one loaded model; `null` is unknown."""

    model_id: str
    weights_mb: int | None
    kv_cache_mb: int | None
    activations_mb: int | None
    process_mb: int | None = Field(description="All of its worker, measured, over all pools.")
    swap_mb: int | None = Field(default=None, description="What of its worker is in swap; a part of `process_mb`.")
    source: str = Field(description="`estimated`: weights, KV cache and activations come from the model's files.")


class MemoryReport(Result):
    """The memory of GPUs, machine and models."""

    gpu_memory: GpuMemoryStats
    system_memory: SystemMemoryStats
    model_memory: list[ModelMemoryStats]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineMemory:
    """Bytes of this machine, and of this process."""

    own: int
    available: int
    swap: int
    pressure: float | None


def machine_memory() -> MachineMemory:
    return MachineMemory(
        own=measure_self(),
        available=psutil.virtual_memory().available,
        swap=psutil.swap_memory().used,
        pressure=memory_pressure(),
    )


def megabytes(amount: float | None) -> int | None:
    """Return bytes in MB; ``None`` stays."""
    return None if amount is None else round(amount / BYTES_PER_MB)


def ratio(part: float, whole: float) -> float:
    """Return the share of ``part``; 0 of nothing."""
    return round(part / whole, 4) if whole else 0.0


def worker_bytes(host: Host, *, on_gpus: bool) -> int:
    """Return what all workers were measured with, in main memory or on GPUs."""
    pools = [pool for model in host.status().models for pool in (model.memory_bytes or {}).items()]
    return sum(size for pool, size in pools if pool.startswith(GPU) is on_gpus)


async def _gpus(host: Host, parameters: GpuParameters, _on_progress: OnProgress) -> GpuList:
    found = await host.monitor.answers.get(GET_GPU_STATS.name, lambda: asyncio.to_thread(gpu_stats, with_counters=True))
    known = [gpu.index for gpu in found]
    unknown = [each for each in parameters.gpu_ids or () if each not in known]
    if unknown:
        there = ", ".join(map(str, known)) or "none"
        raise InvalidRequest(
            f"gpu_ids: there is no GPU {', '.join(map(str, unknown))}; there are: {there}.", param="gpu_ids"
        )
    shown = [gpu for gpu in found if parameters.gpu_ids is None or gpu.index in parameters.gpu_ids]
    efficiency = host.efficiency.ratio
    return GpuList(gpus=[_gpu_report(gpu, parameters, efficiency) for gpu in shown])


def _gpu_report(gpu: GpuStats, parameters: GpuParameters, efficiency: float | None) -> GpuReport:
    return GpuReport(
        id=gpu.index,
        name=gpu.name,
        memory=GpuMemory(
            used_mb=megabytes(gpu.used_bytes) or 0,
            total_mb=megabytes(gpu.total_bytes) or 0,
            utilization=ratio(gpu.used_bytes, gpu.total_bytes),
        ),
        compute=GpuCompute(
            utilization=gpu.utilization,
            sm_utilization=gpu.sm_utilization,
            tensor_utilization=gpu.tensor_utilization,
        ),
        temperature=GpuTemperature(current_c=gpu.temperature_c, max_c=gpu.max_c, warning_c=gpu.warning_c)
        if parameters.include_temperature
        else None,
        power=GpuPower(
            current_w=gpu.power_w,
            max_w=gpu.power_limit_w,
            efficiency=None if efficiency is None or gpu.energy_j is None else round(efficiency, 4),
        )
        if parameters.include_power
        else None,
        clocks=GpuClocks(sm_mhz=gpu.sm_clock_mhz, memory_mhz=gpu.memory_clock_mhz),
        processes=None
        if gpu.processes is None
        else [GpuProcessReport(pid=process.pid, used_mb=megabytes(process.used_bytes)) for process in gpu.processes],
    )


async def _memory(host: Host, _parameters: NoParameters, _on_progress: OnProgress) -> MemoryReport:
    return await host.monitor.answers.get(GET_MEMORY_STATS.name, lambda: _measured_memory(host))


async def _measured_memory(host: Host) -> MemoryReport:
    gpus, machine = await asyncio.gather(asyncio.to_thread(gpu_stats), asyncio.to_thread(machine_memory))
    used, total = sum(gpu.used_bytes for gpu in gpus), sum(gpu.total_bytes for gpu in gpus)
    in_ram = worker_bytes(host, on_gpus=False)
    loaded = [model for model in host.models if model.worker is not None]
    cached, fragmentation = _kept_by_engines(host)
    return MemoryReport(
        gpu_memory=GpuMemoryStats(
            allocated_mb=megabytes(worker_bytes(host, on_gpus=True)) if gpus else None,
            cached_mb=megabytes(cached),
            reserved_mb=megabytes(used) if gpus else None,
            free_mb=megabytes(total - used) if gpus else None,
            fragmentation_ratio=fragmentation,
        ),
        system_memory=SystemMemoryStats(
            process_mb=megabytes(machine.own + in_ram) or 0,
            host_mb=megabytes(machine.own) or 0,
            available_mb=megabytes(machine.available) or 0,
            swap_mb=megabytes(machine.swap) or 0,
            pressure=machine.pressure,
        ),
        model_memory=list(await asyncio.gather(*(asyncio.to_thread(_model_memory, model) for model in loaded))),
    )


def _kept_by_engines(host: Host) -> tuple[int | None, float | None]:
    """Return the GPU memory that engines keep for later use, and how fragmented it is."""
    found = [
        (report.gpu_cached_bytes, report.gpu_largest_free_bytes)
        for report in host.monitor.engine_reports.values()
        if report.gpu_cached_bytes is not None
    ]
    if not found:
        return None, None
    both = [(kept, largest) for kept, largest in found if largest is not None]
    kept, largest = sum(kept for kept, _ in both), sum(largest for _, largest in both)
    fragmentation = (1 - largest / kept if kept else 0.0) if both else None
    return sum(kept for kept, _ in found), None if fragmentation is None else round(fragmentation, 4)


def _model_memory(model: HostedModel) -> ModelMemoryStats:
    known, worker = model.known, model.worker
    leader = None if worker is None else worker.process.pid
    need = known.need_bytes if known else {}
    parts = estimate_parts(
        known.spec.path if known else None,
        size_bytes=known.size_bytes if known else 0,
        need_bytes=sum(need.values()),
        kv_cache_type=known.spec.kv_cache_type if known else "f16",
        context_length=model.context_length,
        slots=model.slots,
    )
    return ModelMemoryStats(
        model_id=model.name,
        weights_mb=megabytes(parts.weights_bytes),
        kv_cache_mb=megabytes(parts.cache_bytes),
        activations_mb=megabytes(parts.activation_bytes),
        process_mb=None if model.memory is None else megabytes(sum(model.memory.values())),
        swap_mb=None if leader is None else megabytes(swapped_bytes(leader)),
        source="estimated",
    )


GET_GPU_STATS: Final = Operation(
    name="get-gpu-stats",
    summary="Show what the GPUs are doing: load, memory, temperature, power",
    work=_gpus,
    route=HttpRoute(method="GET", path="/v1/monitor/gpus"),
    command=None,  # `modelhost gpus`
    area="monitor",
    audited=("gpu_ids",),
    example={"gpu_ids": [0]},
    answer={
        "gpus": [
            {
                "id": 0,
                "name": "NVIDIA A100-SXM4-40GB",
                "memory": {"used_mb": 32768, "total_mb": 40960, "utilization": 0.8},
                "compute": {"utilization": 0.75, "sm_utilization": None, "tensor_utilization": None},
                "temperature": {"current_c": 65, "max_c": 83, "warning_c": 80},
                "power": {"current_w": 280.0, "max_w": 400.0, "efficiency": None},
                "clocks": {"sm_mhz": 1410, "memory_mhz": 1215},
                "processes": [{"pid": 4711, "used_mb": 32000}],
            }
        ]
    },
)
GET_MEMORY_STATS: Final = Operation(
    name="get-memory-stats",
    summary="Show the memory of the GPUs, of the machine and of each loaded model",
    work=_memory,
    route=HttpRoute(method="GET", path="/v1/monitor/memory"),
    command=None,
    area="monitor",
    answer={
        "gpu_memory": {
            "allocated_mb": 16384,
            "cached_mb": None,
            "reserved_mb": 18432,
            "free_mb": 6144,
            "fragmentation_ratio": None,
        },
        "system_memory": {"process_mb": 4096, "host_mb": 160, "available_mb": 28672, "swap_mb": 0, "pressure": 0.0},
        "model_memory": [
            {
                "model_id": "qwen",
                "weights_mb": 14336,
                "kv_cache_mb": 1024,
                "activations_mb": 512,
                "process_mb": 16100,
                "swap_mb": 0,
                "source": "estimated",
            }
        ],
    },
)

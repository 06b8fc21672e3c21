"""What NVML reports of GPUs, with a recorded NVML in its place: an H200, which has counters, and a card without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from modelhost.workers import gpu_stats
from modelhost.workers.gpu_stats import GpuProcess, read_stats

GIB = 2**30


class RecordedNvml:
    """Answers as NVML does of two GPUs; ``lost`` ones have fallen off the bus."""

    NVMLError = pynvml.NVMLError

    def __init__(self) -> None:
        self.lost: set[int] = set()
        self.freed = 0
        self._sampled: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(pynvml, name)  # the constants and structures are the library's

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index in self.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return ("NVIDIA H200", "NVIDIA GeForce RTX 3070")[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=(140 * GIB, 8 * GIB)[handle], free=(40 * GIB, 2 * GIB)[handle])

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=(75, 30)[handle], memory=10)

    def nvmlDeviceGetTemperature(self, handle: int, _sensor: int) -> int:  # noqa: N802
        return self._known(handle, 61)

    def nvmlDeviceGetTemperatureThreshold(self, handle: int, kind: int) -> int:  # noqa: N802
        limits = {pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX: 85, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN: 92}
        return self._known(handle, limits[kind])

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return self._known(handle, 280_500)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:  # noqa: N802
        return self._known(handle, 700_000)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        return self._known(handle, 5_000_000)

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:  # noqa: N802
        return self._known(handle, {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 3201}[kind])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=11, usedGpuMemory=5 * GIB)] if handle == 0 else []

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=11, usedGpuMemory=5 * GIB), SimpleNamespace(pid=7, usedGpuMemory=None)][
            : 2 - handle
        ]

    def nvmlGpmQueryDeviceSupport(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(isSupportedDevice=int(handle == 0))

    def nvmlGpmSampleAlloc(self) -> Any:  # noqa: N802
        return pynvml.c_nvmlGpmSample_t()

    def nvmlGpmSampleGet(self, _handle: int, sample: Any) -> None:  # noqa: N802
        self._sampled.append(sample)

    def nvmlGpmMetricsGet(self, request: Any) -> None:  # noqa: N802
        values = {pynvml.NVML_GPM_METRIC_SM_UTIL: 82.0, pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL: 68.0}
        for place in range(request.numMetrics):
            request.metrics[place].value = values[request.metrics[place].metricId]

    def nvmlGpmSampleFree(self, _sample: Any) -> None:  # noqa: N802
        self.freed += 1

    @staticmethod
    def _known(handle: int, value: int) -> int:
        if handle != 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_stats, "GPM_SECONDS", 0)


def test_all_that_a_gpu_reports_is_read() -> None:
    nvml = RecordedNvml()
    gpu = read_stats(nvml, with_counters=True)[0]
    assert (gpu.index, gpu.name, gpu.total_bytes, gpu.used_bytes) == (0, "NVIDIA H200", 140 * GIB, 100 * GIB)
    assert (gpu.utilization, gpu.sm_utilization, gpu.tensor_utilization) == (0.75, 0.82, 0.68)
    assert (gpu.temperature_c, gpu.warning_c, gpu.max_c) == (61, 85, 92)
    assert (gpu.power_w, gpu.power_limit_w, gpu.energy_j) == (280.5, 700, 5000)
    assert (gpu.sm_clock_mhz, gpu.memory_clock_mhz) == (1980, 3201)
    assert gpu.processes == (GpuProcess(pid=7, used_bytes=None), GpuProcess(pid=11, used_bytes=5 * GIB))
    assert nvml.freed == 2


def test_what_a_gpu_does_not_report_is_unknown() -> None:
    gpu = read_stats(RecordedNvml(), with_counters=True)[1]
    assert (gpu.utilization, gpu.sm_utilization, gpu.temperature_c, gpu.power_w, gpu.sm_clock_mhz) == (0.3, *[None] * 4)


def test_counters_are_read_only_when_they_are_wanted() -> None:
    assert [gpu.sm_utilization for gpu in read_stats(RecordedNvml())] == [None, None]


def test_a_gpu_that_does_not_answer_is_left_out() -> None:
    nvml = RecordedNvml()
    nvml.lost.add(0)
    assert [gpu.index for gpu in read_stats(nvml)] == [1]


def test_without_a_driver_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_stats, "driver", lambda: None)
    assert gpu_stats.gpu_stats(with_counters=True) == ()

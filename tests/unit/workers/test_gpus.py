"""GPUs, with a module in the place of NVIDIA's: what it answers here is what NVML's documentation says it does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelhost.workers import gpus
from modelhost.workers.gpus import Driver, Gpu, InstalledGpu, installed_gpu

GIB = 2**30


class FakeNvml:
    """Two GPUs, the second of which can be broken; ``computing`` and ``drawing`` are lists of (gpu, pid, bytes)."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.computing: list[tuple[int, int, int | None]] = []
        self.drawing: list[tuple[int, int, int | None]] = []
        self.lost: set[int] = set()
        self.percents: dict[int, int] = {0: 90, 1: 45}
        """How busy the GPUs are that tell it."""
        self.initialised = 0
        self.fails_to_initialise = False
        self.fails_to_count = False

    def nvmlInit(self) -> None:  # noqa: N802
        if self.fails_to_initialise:
            raise self.NVMLError("Driver/library version mismatch")
        self.initialised += 1

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return 12080

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.fails_to_count:
            raise self.NVMLError("Uninitialized")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> int:  # noqa: N802
        if index in self.lost:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetName(self, handle: int, /) -> str:  # noqa: N802
        return f"GPU of size {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int, /) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=8 * GIB, free=(6 + handle) * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int, /) -> SimpleNamespace:  # noqa: N802
        if handle not in self.percents:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=self.percents[handle], memory=1)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int, /) -> list[SimpleNamespace]:  # noqa: N802
        return self._of(self.computing, handle)

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int, /) -> list[SimpleNamespace]:  # noqa: N802
        return self._of(self.drawing, handle)

    def _of(self, processes: list[tuple[int, int, int | None]], handle: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for gpu, pid, size in processes if gpu == handle]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeNvml]:
    """The fake as ``pynvml``, on a machine with a driver."""
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(gpus, "DEVICES", (tmp_path,))
    namespace = tmp_path / "pid"
    namespace.symlink_to(gpus.FIRST_PID_NAMESPACE)
    monkeypatch.setattr(gpus, "PID_NAMESPACE", namespace)
    gpus.driver.cache_clear()
    yield fake
    gpus.driver.cache_clear()


def test_how_busy_gpus_are_is_their_mean_where_all_tell_it(nvml: FakeNvml) -> None:
    assert gpus.utilization([0]) == 0.9
    assert gpus.utilization([0, 1]) == 0.675
    assert gpus.utilization([]) is None
    del nvml.percents[1]
    assert gpus.utilization([0, 1]) is None


@pytest.mark.promise("mistralrs.models.device-indices", "mistralrs.linux")
def test_gpus_are_listed_with_their_memory_and_the_driver_is_loaded_once(nvml: FakeNvml) -> None:
    first = Gpu(index=0, name="GPU of size 0", total_bytes=8 * GIB, free_bytes=6 * GIB)
    second = Gpu(index=1, name="GPU of size 1", total_bytes=8 * GIB, free_bytes=7 * GIB)
    assert gpus.gpus() == (first, second) == gpus.gpus()
    assert nvml.initialised == 1


def test_without_the_nodes_of_a_driver_nothing_is_loaded(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "DEVICES", (Path("/dev/no-such-gpu"),))
    assert gpus.gpus() == ()
    assert gpus.bytes_by_gpu([1]) is None
    assert nvml.initialised == 0


def test_a_driver_that_does_not_work_is_no_gpu(nvml: FakeNvml) -> None:
    nvml.fails_to_initialise = True
    assert gpus.gpus() == ()


def test_a_driver_that_stops_working_has_no_gpus(nvml: FakeNvml) -> None:
    nvml.fails_to_count = True
    assert gpus.gpus() == ()
    assert gpus.bytes_by_gpu([1]) is None


def test_a_gpu_that_is_lost_is_left_out(nvml: FakeNvml) -> None:
    nvml.lost = {0}
    assert [gpu.index for gpu in gpus.gpus()] == [1]
    assert gpus.bytes_by_gpu([1]) is None


def test_the_memory_of_processes_is_summed_for_each_gpu_where_they_take_any(nvml: FakeNvml) -> None:
    nvml.computing = [(0, 10, GIB), (0, 99, 5 * GIB), (1, 99, GIB), (0, 11, 2 * GIB)]
    assert gpus.bytes_by_gpu([10, 11]) == {0: 3 * GIB}
    assert gpus.bytes_by_gpu([12]) == {}


def test_a_process_that_computes_and_draws_counts_once(nvml: FakeNvml) -> None:
    nvml.computing = [(1, 10, GIB)]
    nvml.drawing = [(1, 10, GIB), (0, 10, 7)]
    assert gpus.bytes_by_gpu([10]) == {0: 7, 1: GIB}


def test_a_size_that_the_driver_keeps_to_itself_is_unknown(nvml: FakeNvml) -> None:
    nvml.computing = [(0, 10, None)]
    assert gpus.bytes_by_gpu([10]) is None
    assert gpus.bytes_by_gpu([11]) == {}


def test_in_a_container_with_pids_of_its_own_the_driver_speaks_of_other_processes() -> None:
    nvml = FakeNvml()
    nvml.computing = [(0, 10, GIB)]
    assert Driver(nvml, knows_our_pids=False).bytes_by_gpu([10]) is None


async def test_memory_is_back_when_no_process_is_listed_any_more(nvml: FakeNvml) -> None:
    nvml.computing = [(0, 10, GIB)]
    assert not await gpus.wait_for_freed_memory([10], seconds=0.1)
    nvml.computing = [(0, 11, GIB)]
    assert await gpus.wait_for_freed_memory([10])


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "gpus", lambda: ())


def card(root: Path, number: int, address: str, **files: str) -> None:
    device = root / "sys/devices" / address
    device.mkdir(parents=True)
    for name, text in files.items():
        (device / name).write_text(f"{text}\n")
    link = root / "sys/class/drm" / f"card{number}"
    link.mkdir(parents=True)
    (link / "device").symlink_to(device)
    connector = root / "sys/class/drm" / f"card{number}-HDMI-A-1"
    connector.mkdir()
    (connector / "device").symlink_to(link)


def rocm(root: Path, *simd_counts: int) -> None:
    for number, count in enumerate(simd_counts):
        node = root / "sys/class/kfd/kfd/topology/nodes" / str(number)
        node.mkdir(parents=True)
        (node / "properties").write_text(f"cpu_cores_count 0\nsimd_count {count}\nmem_banks_count 1\n")


def test_one_of_nvidia_is_known_by_its_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = (Gpu(index=0, name="NVIDIA L4", total_bytes=24 * GIB, free_bytes=23 * GIB),)
    monkeypatch.setattr(gpus, "gpus", lambda: found)
    assert installed_gpu(tmp_path) == InstalledGpu(name="NVIDIA L4", build="cuda")


@pytest.mark.usefixtures("no_driver")
def test_a_machine_without_any_has_none(tmp_path: Path) -> None:
    assert installed_gpu(tmp_path) is None
    card(tmp_path, 0, "0000:04:00.0", vendor="0x1a03")  # the picture of a server's console
    assert installed_gpu(tmp_path) is None


@pytest.mark.usefixtures("no_driver")
def test_one_of_amd_takes_rocm_where_that_is_there(tmp_path: Path) -> None:
    card(tmp_path, 0, "0000:03:00.0", vendor="0x1002", mem_info_vram_total=str(16 * GIB))
    rocm(tmp_path, 0)
    assert installed_gpu(tmp_path) == InstalledGpu(name="an AMD GPU", build="vulkan")
    other = tmp_path / "other"
    rocm(other, 0, 192)
    card(other, 1, "0000:03:00.0", vendor="0x1002", mem_info_vram_total=str(16 * GIB), product_name="W7900")
    assert installed_gpu(other) == InstalledGpu(name="W7900", build="hip")


@pytest.mark.usefixtures("no_driver")
def test_one_that_is_part_of_the_processor_is_not_worth_a_word(tmp_path: Path) -> None:
    card(tmp_path, 0, "0000:00:02.0", vendor="0x8086")
    card(tmp_path, 1, "0000:04:00.0", vendor="0x1002", mem_info_vram_total=str(GIB // 2))
    assert installed_gpu(tmp_path) is None


@pytest.mark.usefixtures("no_driver")
def test_a_card_of_intel_is_found_behind_the_one_in_the_processor(tmp_path: Path) -> None:
    card(tmp_path, 0, "0000:00:02.0", vendor="0x8086")
    card(tmp_path, 1, "0000:03:00.0", vendor="0x8086")
    assert installed_gpu(tmp_path) == InstalledGpu(name="an Intel GPU", build="vulkan")

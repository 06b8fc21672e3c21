"""Which GPU is in the machine, read from folders as Linux has them under /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelhost.workers import installed_gpus
from modelhost.workers.gpus import Gpu
from modelhost.workers.installed_gpus import InstalledGpu, installed_gpu

GIB = 1 << 30


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_gpus, "gpus", lambda: ())


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
    monkeypatch.setattr(installed_gpus, "gpus", lambda: found)
    assert installed_gpu(tmp_path) == InstalledGpu(name="NVIDIA L4", build="cuda")


def test_a_machine_without_any_has_none(tmp_path: Path) -> None:
    assert installed_gpu(tmp_path) is None
    card(tmp_path, 0, "0000:04:00.0", vendor="0x1a03")  # the picture of a server's console
    assert installed_gpu(tmp_path) is None


def test_one_of_amd_takes_rocm_where_that_is_there(tmp_path: Path) -> None:
    card(tmp_path, 0, "0000:03:00.0", vendor="0x1002", mem_info_vram_total=str(16 * GIB))
    rocm(tmp_path, 0)
    assert installed_gpu(tmp_path) == InstalledGpu(name="an AMD GPU", build="vulkan")
    other = tmp_path / "other"
    rocm(other, 0, 192)
    card(other, 1, "0000:03:00.0", vendor="0x1002", mem_info_vram_total=str(16 * GIB), product_name="W7900")
    assert installed_gpu(other) == InstalledGpu(name="W7900", build="hip")


def test_one_that_is_part_of_the_processor_is_not_worth_a_word(tmp_path: Path) -> None:
    card(tmp_path, 0, "0000:00:02.0", vendor="0x8086")
    card(tmp_path, 1, "0000:04:00.0", vendor="0x1002", mem_info_vram_total=str(GIB // 2))
    assert installed_gpu(tmp_path) is None


def test_a_card_of_intel_is_found_behind_the_one_in_the_processor(tmp_path: Path) -> None:
    card(tmp_path, 0, "0000:00:02.0", vendor="0x8086")
    card(tmp_path, 1, "0000:03:00.0", vendor="0x8086")
    assert installed_gpu(tmp_path) == InstalledGpu(name="an Intel GPU", build="vulkan")

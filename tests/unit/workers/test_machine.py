"""The memory that may be used, from written files of control groups."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from modelhost.workers.machine import allowed_cores, available_memory, computing_cores, machine_memory, oom_kills

MIB = 2**20
ALL = psutil.virtual_memory().total
UNLIMITED_V1 = 9223372036854771712


def _write(root: Path, **files: str) -> None:
    for path, text in files.items():
        file = root / path.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_without_control_groups_the_machine_is_all_there_is(tmp_path: Path) -> None:
    assert machine_memory(tmp_path) == ALL
    assert available_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, abs=256 * MIB)


def test_a_group_without_a_limit_changes_nothing(tmp_path: Path) -> None:
    _write(tmp_path, proc__self__cgroup="0::/a\n")
    _group(tmp_path / "sys/fs/cgroup/a", memory__max="max", memory__current=5)
    assert machine_memory(tmp_path) == ALL


def test_the_smallest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    _write(tmp_path, proc__self__cgroup="0::/a/b/c\n")
    mount = tmp_path / "sys/fs/cgroup"
    _group(mount / "a", memory__max=100 * MIB)
    _group(mount / "a/b", memory__max=300 * MIB)
    _group(mount / "a/b/c", memory__max="max")
    _group(mount / "other", memory__max=1)
    assert machine_memory(tmp_path) == 100 * MIB


def test_what_is_left_is_the_least_of_all_groups_with_what_can_be_dropped(tmp_path: Path) -> None:
    _write(tmp_path, proc__self__cgroup="0::/a/b\n")
    mount = tmp_path / "sys/fs/cgroup"
    stat = f"anon 1\ninactive_file {7 * MIB}\nactive_file 9\n"
    _group(mount / "a", memory__max=100 * MIB, memory__current=80 * MIB, memory__stat=stat)
    _group(mount / "a/b", memory__max=90 * MIB, memory__current=10 * MIB, memory__stat="")
    assert available_memory(tmp_path) == 27 * MIB


def test_a_group_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    _write(tmp_path, proc__self__cgroup="0::/\n")
    _group(tmp_path / "sys/fs/cgroup", memory__max=10, memory__current=20)
    assert available_memory(tmp_path) == 0


def test_in_a_container_the_own_group_stands_at_the_top(tmp_path: Path) -> None:
    # Of the path outside nothing is to be seen inside.
    _write(tmp_path, proc__self__cgroup="0::/../docker/0123\n")
    _group(tmp_path / "sys/fs/cgroup", memory__max=64 * MIB)
    assert machine_memory(tmp_path) == 64 * MIB


def test_the_older_kind_of_groups_is_read_from_the_memory_controller(tmp_path: Path) -> None:
    _write(tmp_path, proc__self__cgroup="9:name=systemd:/x\n4:cpu,memory:/x/y\n0::/\n")
    mount = tmp_path / "sys/fs/cgroup"
    (mount / "unified").mkdir(parents=True)
    _group(mount / "memory", memory__limit_in_bytes=UNLIMITED_V1, memory__usage_in_bytes=5)
    _group(
        mount / "memory/x/y",
        memory__limit_in_bytes=50 * MIB,
        memory__usage_in_bytes=30 * MIB,
        memory__stat=f"inactive_file 1\ntotal_inactive_file {2 * MIB}",
    )
    assert machine_memory(tmp_path) == 50 * MIB
    assert available_memory(tmp_path) == 22 * MIB


def test_the_kernels_count_of_processes_killed_for_memory(tmp_path: Path) -> None:
    assert oom_kills(tmp_path) is None
    _write(tmp_path, proc__vmstat="nr_free_pages 1\noom_kill 12\noom_kill_other 3\n")
    assert oom_kills(tmp_path) == 12


def test_the_real_files_make_sense() -> None:
    assert 0 < available_memory() <= machine_memory() <= ALL


CORES = 8


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A machine as ``lscpu`` has recorded it: the core of each of its CPUs, sockets counted through.

    The recordings are the ones that util-linux tests ``lscpu`` with (``tests/expected/lscpu``).
    """

    name: str
    cores: Sequence[int]
    files: Mapping[str, str] = field(default_factory=dict)
    """What else the kernel says of such a machine, below ``/sys/devices``."""


EPYC = Processor(name="EPYC 7451, two sockets, two threads a core", cores=[*range(48), *range(48)])
METEOR_LAKE = Processor(
    name="Core Ultra 9 185H, 6 fast cores of two threads, 8 slow ones, 2 slower ones",
    cores=[0, 1, 1, 2, 2, 0, 3, 3, 4, 4, 5, 5, *range(6, 16)],
    files={"cpu_core/cpus": "0-11\n", "cpu_atom/cpus": "12-21\n"},
)
SNAPDRAGON = Processor(
    name="Snapdragon 8 Gen 2, 3 A510, 2 A715, 2 A710, 1 X3",
    cores=range(8),
    # The capacities per megahertz of Linux's sm8550.dtsi times the frequencies of the recording.
    files={
        f"system/cpu/cpu{cpu}/cpu_capacity": f"{capacity}\n"
        for cpu, capacity in enumerate([206, 206, 206, 609, 609, 609, 609, 1024])
    },
)
PIONEER = Processor(name="Milk-V Pioneer, 64 RISC-V cores", cores=range(64))
VIRTUAL = Processor(name="a virtual machine that tells nothing", cores=[])


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: CORES)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(CORES)), raising=False)


def _own_group(root: Path, line: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"{line}\n")


def _unified(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{text}\n")


def _legacy(folder: Path, *, quota: int, period: int = 100_000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


def test_without_control_groups_all_cores_count(tmp_path: Path) -> None:
    assert allowed_cores(tmp_path) == CORES


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000", CORES),
        ("300000 100000", 3),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("40000 10000", 4),
        ("9900000 100000", CORES),
        ("", CORES),
        ("300000 0", CORES),
    ],
)
def test_the_quota_of_a_container_counts_in_whole_cores(tmp_path: Path, text: str, cores: int) -> None:
    _own_group(tmp_path, "0::/")
    _unified(tmp_path / "sys/fs/cgroup", text)
    assert allowed_cores(tmp_path) == cores


def test_the_smallest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    _own_group(tmp_path, "0::/pod/container")
    mount = tmp_path / "sys/fs/cgroup"
    _unified(mount / "pod", "200000 100000")
    _unified(mount / "pod/container", "max 100000")
    _unified(mount / "other", "100000 100000")
    assert allowed_cores(tmp_path) == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_the_older_kind_of_groups_is_read_from_the_cpu_controller(tmp_path: Path, mount: str) -> None:
    _own_group(tmp_path, "4:memory:/x\n2:cpuset:/y\n1:cpu,cpuacct:/docker/0123\n0::/")
    folder = tmp_path / "sys/fs/cgroup" / mount
    _legacy(folder, quota=-1)
    _legacy(folder / "docker/0123", quota=350_000)
    assert allowed_cores(tmp_path) == 3


def test_an_older_group_of_which_only_the_top_is_seen_inside(tmp_path: Path) -> None:
    _own_group(tmp_path, "1:cpu:/docker/0123")
    _legacy(tmp_path / "sys/fs/cgroup/cpu", quota=20_000, period=10_000)
    assert allowed_cores(tmp_path) == 2


def test_an_affinity_mask_below_the_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    _own_group(tmp_path, "0::/")
    _unified(tmp_path / "sys/fs/cgroup", "400000 100000")
    assert allowed_cores(tmp_path) == 1


def test_the_real_files_about_cores_make_sense() -> None:
    assert 1 <= computing_cores() <= allowed_cores() <= CORES


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")


def _machine(root: Path, processor: Processor) -> None:
    devices = root / "sys/devices"
    for cpu, core in enumerate(processor.cores):
        siblings = ",".join(str(other) for other, its in enumerate(processor.cores) if its == core)
        _file(devices / f"system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{siblings}\n")
    for name, text in processor.files.items():
        _file(devices / name, text)


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("processor", "allowed", "computing"),
    [
        (EPYC, range(96), 48),
        (EPYC, range(6), 6),
        (EPYC, [0, 48, 1, 49], 2),
        (METEOR_LAKE, range(22), 6),
        (METEOR_LAKE, [0, 1, 12, 13, 20], 2),
        (METEOR_LAKE, range(12, 22), 10),
        (SNAPDRAGON, range(8), 5),
        (SNAPDRAGON, range(3), 3),
        (PIONEER, range(64), 64),
        (VIRTUAL, range(2), 2),
        (VIRTUAL, range(1), 1),
    ],
)
def test_one_thread_computes_on_each_fast_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processor: Processor, allowed: Sequence[int], computing: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(allowed), raising=False)
    _machine(tmp_path, processor)
    assert computing_cores(tmp_path) == computing


@pytest.mark.usefixtures("linux")
def test_a_quota_bounds_the_computing_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(96)), raising=False)
    _machine(tmp_path, EPYC)
    _own_group(tmp_path, "0::/")
    _unified(tmp_path / "sys/fs/cgroup", "650000 100000")
    assert computing_cores(tmp_path) == 6

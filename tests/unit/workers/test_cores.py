"""The cores that may be used, from written files of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelhost.workers.cores import allowed_cores

CORES = 8


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


def test_the_real_files_make_sense() -> None:
    assert 1 <= allowed_cores() <= CORES

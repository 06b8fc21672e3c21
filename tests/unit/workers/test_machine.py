"""The memory that may be used, from written files of control groups."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from modelhost.workers.machine import available_memory, machine_memory, oom_kills

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

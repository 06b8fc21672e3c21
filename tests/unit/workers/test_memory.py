"""What a worker takes, with real processes; and what is made of the kernel's files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelhost.workers import gpus, memory
from modelhost.workers.groups import members
from modelhost.workers.memory import LARGEST_EXACT_BYTES, RAM, measure, measure_group, measured_bytes

MIB = 2**20
HOLD = "import os, sys\nheld = bytearray(os.urandom(4096)) * (int(sys.argv[1]) * 256)\n"
SAY_AND_WAIT = "print('x', flush=True)\nsys.stdin.read()\n"
FORK = "import signal\nif not (child := os.fork()):\n    signal.pause()\n"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@contextmanager
def _holding(mebibytes: int, then: str = "") -> Iterator[int]:
    """A session leader that holds so much, and the pid of it."""
    command = [sys.executable, "-c", HOLD + then + SAY_AND_WAIT, str(mebibytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_what_a_worker_allocates_is_measured() -> None:
    with _holding(0) as small, _holding(100) as large:
        assert measure_group(large) - measure_group(small) == pytest.approx(100 * MIB, abs=4 * MIB)


@linux_only
def test_memory_shared_by_a_worker_and_its_child_counts_once() -> None:
    with _holding(100) as alone, _holding(100, FORK) as forked:
        assert len(members(forked)) == 2
        assert measure_group(forked) - measure_group(alone) < 20 * MIB


def test_a_worker_that_is_gone_takes_nothing() -> None:
    with _holding(1) as pid:
        pass
    assert measure_group(pid) == 0


async def test_pools_are_the_ram_and_those_gpus_where_it_takes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    with _holding(1) as pid:
        assert set(await measure(pid)) == {RAM}
        monkeypatch.setattr(gpus, "bytes_by_gpu", lambda pids: {1: 7 * len(pids)})
        found = await measure(pid)
    assert found["gpu:1"] == 7
    assert found[RAM] > MIB


@linux_only
def test_a_measurement_reads_two_small_files_of_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    read_bytes = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path)
        content = read_bytes(path)
        assert len(content) < 4096  # a list of all of its pages would be longer, and not cheap enough for each second
        return content

    monkeypatch.setattr(Path, "read_bytes", noted)
    with _holding(60) as pid:
        assert measure_group(pid) > 60 * MIB
    assert read == [Path(f"/proc/{pid}/status"), Path(f"/proc/{pid}/smaps_rollup")]


def _proc(folder: Path, *, resident: int, swapped: int = 0, rollup: str | None = None) -> Path:
    (folder / "status").write_text(f"Name:\tx\nVmRSS:\t{resident // 1024:8} kB\nVmSwap:\t{swapped // 1024:8} kB\n")
    if rollup is not None:
        (folder / "smaps_rollup").write_text(rollup)
    return folder


ROLLUP = "0-1 ---p 0 0 0 [rollup]\nRss:  99999 kB\nPss:  1000 kB\nPss_Dirty:  5 kB\nSwap:  70 kB\nSwapPss:  50 kB\n"


def test_a_process_of_moderate_size_is_measured_by_its_share_swap_included(tmp_path: Path) -> None:
    assert measured_bytes(_proc(tmp_path, resident=10 * MIB, rollup=ROLLUP)) == 1050 * 1024


def test_a_large_process_is_measured_by_what_is_resident_swap_included(tmp_path: Path) -> None:
    resident = LARGEST_EXACT_BYTES + MIB
    assert measured_bytes(_proc(tmp_path, resident=resident, swapped=2 * MIB, rollup=ROLLUP)) == resident + 2 * MIB


def test_without_shares_a_process_is_measured_by_what_is_resident(tmp_path: Path) -> None:
    assert measured_bytes(_proc(tmp_path, resident=10 * MIB, swapped=MIB)) == 11 * MIB


def test_a_process_without_files_takes_nothing(tmp_path: Path) -> None:
    assert measured_bytes(tmp_path / "gone") == 0


def test_where_the_kernel_has_no_files_of_processes_their_size_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROC", Path("/nowhere"))
    with _holding(20) as pid:
        assert measure_group(pid) > 20 * MIB

"""What a worker takes, with real processes; and what is made of the kernel's files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.errors import WorkerStartFailed
from modelhost.models.resolve.locate import locate
from modelhost.workers import gpus, memory, process
from modelhost.workers.memory import (
    LARGEST_EXACT_BYTES,
    RAM,
    measure,
    measure_group,
    memory_pressure,
    process_bytes,
    ran_out_of_memory,
    swapped_bytes,
)
from modelhost.workers.process import WorkerProcess
from modelhost.workers.process_groups import members

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
    assert process_bytes(_proc(tmp_path, resident=10 * MIB, rollup=ROLLUP)) == 1050 * 1024


def test_a_large_process_is_measured_by_what_is_resident_swap_included(tmp_path: Path) -> None:
    resident = LARGEST_EXACT_BYTES + MIB
    assert process_bytes(_proc(tmp_path, resident=resident, swapped=2 * MIB, rollup=ROLLUP)) == resident + 2 * MIB


def test_without_shares_a_process_is_measured_by_what_is_resident(tmp_path: Path) -> None:
    assert process_bytes(_proc(tmp_path, resident=10 * MIB, swapped=MIB)) == 11 * MIB


def test_a_process_without_files_takes_nothing(tmp_path: Path) -> None:
    assert process_bytes(tmp_path / "gone") == 0


def test_where_the_kernel_has_no_files_of_processes_their_size_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROC", Path("/nowhere"))
    with _holding(20) as pid:
        assert measure_group(pid) > 20 * MIB


READ = "import json, os, sys, time\nsys.stdin.readline()\n"
KILL = READ + "os.kill(os.getpid(), 9)"


def _ended(
    status: int | None = 1, *said: str, killed: bool = False, kills: tuple[int | None, int | None] = (3, 3)
) -> bool:
    return ran_out_of_memory(
        exit_status=status, was_killed_by_us=killed, oom_kills=kills, lines=said, phrases=["failed to allocate"]
    )


@pytest.mark.parametrize("status", [-signal.SIGKILL, 137])
def test_a_sigkill_is_the_kernels_if_the_kernel_has_counted_one(status: int) -> None:
    assert _ended(status, kills=(3, 4))
    assert not _ended(status, kills=(3, 3))
    assert not _ended(status, kills=(3, 4), killed=True)


def test_where_the_kernel_does_not_count_a_sigkill_of_nobody_is_taken_for_its() -> None:
    assert _ended(-signal.SIGKILL, kills=(None, None))


@pytest.mark.parametrize("status", [-signal.SIGABRT, -signal.SIGSEGV, 1, 0])
def test_another_end_is_no_want_of_memory_by_itself(status: int) -> None:
    assert not _ended(status, "exiting due to model loading error", kills=(3, 4))


@pytest.mark.parametrize(
    "line",
    [
        "E ggml_backend_cpu_buffer_type_alloc_buffer: Failed to allocate buffer of size 1",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "MemoryError",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "OSError: [Errno 12] Cannot allocate memory",
    ],
)
def test_what_the_worker_said_tells(line: str) -> None:
    assert _ended(1, "fine", line, "gone")
    assert not _ended(1, line, killed=True)


async def _start(script: str, *phrases: str, timeout_seconds: float = 20) -> bool:
    launch = Launch(argv=(sys.executable, "-c", script), env={}, config={}, memory_phrases=phrases)
    with pytest.raises(WorkerStartFailed) as failed:
        await WorkerProcess.start(launch, model="m", timeout_seconds=timeout_seconds)
    found: bool = failed.value.details["out_of_memory"]
    return found


@pytest.fixture
def a_kill_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([5, 6])
    monkeypatch.setattr(process, "oom_kills", lambda: next(counts))


async def test_a_worker_killed_by_a_person_was_not_out_of_memory() -> None:
    assert not await _start(KILL)


@pytest.mark.usefixtures("a_kill_is_counted")
async def test_a_worker_killed_by_the_kernel_was_out_of_memory() -> None:
    assert await _start(KILL)


async def test_a_phrase_of_the_engine_tells_in_the_log_and_in_the_reported_reason() -> None:
    script = READ + "sys.stderr.write('E Region is FULL\\n' + 'later\\n' * 100)"
    assert await _start(script, "region is full")
    assert not await _start(script, "something else")
    failed = '{"event": "failed", "code": "load_failed", "message": "region is full"}'
    assert await _start(READ + f"print('{failed}')", "region is full")


@pytest.mark.parametrize(
    "line",
    [
        "alloc_buffer: allocating 1024.00 MiB on device 0: cudaMalloc failed: out of memory",
        "alloc_tensor_range: failed to allocate CUDA0 buffer of size 1073741824",
        "llama_model_load: error loading model: unable to allocate ROCm0 buffer",
        "CUDA error: out of memory",
        "ggml_vulkan: Device memory allocation of size 1073741824 failed.",
        "vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "ggml_backend_sycl_buffer_type_alloc_buffer: can't allocate 1073741824 Bytes of memory on device",
    ],
)
async def test_it_is_told_where_the_memory_that_llamacpp_did_not_get_is_a_gpu_s(line: str) -> None:
    launch = LlamaCpp().launch(ModelSpec(name="m", path=Path("m.gguf")), "key")
    script = READ + f"sys.stderr.write({line!r})"
    with pytest.raises(WorkerStartFailed) as failed:
        await WorkerProcess.start(replace(launch, argv=(sys.executable, "-c", script)), model="m", timeout_seconds=60)
    assert (failed.value.details["out_of_memory"], failed.value.details["out_of_gpu_memory"]) == (True, True)


async def test_main_memory_that_llamacpp_did_not_get_is_no_gpu_s() -> None:
    launch = LlamaCpp().launch(ModelSpec(name="m", path=Path("m.gguf")), "key")
    said = "ggml_aligned_malloc: insufficient memory\nunable to allocate CPU buffer\n"
    script = READ + f"sys.stderr.write({said!r})"
    with pytest.raises(WorkerStartFailed) as failed:
        await WorkerProcess.start(replace(launch, argv=(sys.executable, "-c", script)), model="m", timeout_seconds=60)
    assert failed.value.details["out_of_memory"] is True
    assert "out_of_gpu_memory" not in failed.value.details


async def test_a_worker_that_was_late_was_not_out_of_memory_whatever_it_said() -> None:
    script = READ + "sys.stderr.write('out of memory, trying something smaller\\n')\nsys.stderr.flush()\ntime.sleep(60)"
    assert not await _start(script, timeout_seconds=1)


async def test_a_process_for_which_the_system_has_no_memory_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert await _start(READ)


def _nano(context_length: int, kilobytes: int) -> Launch:
    """A worker of the bundled model that may have so much address space, of which each thread reserves some."""
    spec = ModelSpec(name="nano", path=locate(None).path, context_length=context_length, max_in_flight=4)
    launch = LlamaCpp().launch(spec, "key")
    limited = ("sh", "-c", f'ulimit -v {kilobytes}; exec "$@"', "sh", *launch.argv)
    return replace(launch, argv=limited)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit address space")
async def test_llamacpp_without_the_memory_for_its_context_is_out_of_memory_and_fits_with_less() -> None:
    with pytest.raises(WorkerStartFailed, match="could not start") as failed:
        await WorkerProcess.start(_nano(10_000_000, 3_000_000), model="nano", timeout_seconds=60)
    assert failed.value.details["out_of_memory"] is True
    assert failed.value.details["reason"] == "load_failed"
    worker = await WorkerProcess.start(_nano(2048, 3_000_000), model="nano", timeout_seconds=60)
    await worker.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit address space")
async def test_llamacpp_with_a_context_beyond_all_bounds_is_out_of_memory() -> None:
    with pytest.raises(WorkerStartFailed) as failed:
        await WorkerProcess.start(_nano(100_000_000, 4_000_000), model="nano", timeout_seconds=60)
    assert failed.value.details["out_of_memory"] is True


def test_llamacpp_that_gets_no_thread_while_it_loads_is_out_of_memory() -> None:
    phrases = LlamaCpp().launch(ModelSpec(name="x", path=Path("x.gguf")), "key").memory_phrases
    said = ["E llama_model_load: error loading model: Resource temporarily unavailable"]
    assert ran_out_of_memory(exit_status=1, was_killed_by_us=False, oom_kills=(3, 3), lines=said, phrases=phrases)


async def test_llamacpp_with_a_file_that_is_no_model_is_not_out_of_memory() -> None:
    launch = LlamaCpp().launch(ModelSpec(name="x", path=Path("no-such.gguf")), "key")
    with pytest.raises(WorkerStartFailed) as failed:
        await WorkerProcess.start(launch, model="x", timeout_seconds=60)
    assert failed.value.details["out_of_memory"] is False


@linux_only
def test_a_session_is_in_swap_with_a_part_of_its_memory() -> None:
    with _holding(8) as leader:
        swapped = swapped_bytes(leader)
        assert swapped is not None
        assert 0 <= swapped <= measure_group(leader) + MIB
    assert swapped_bytes(leader) == 0


def test_swap_is_that_of_the_kernels_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid, size in ((11, 4), (12, 8)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(f"Name:\tpython\nVmRSS:\t 100 kB\nVmSwap:\t {size} kB\n")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "members", lambda _: [11, 12, 13])
    assert swapped_bytes(11) == 12 * 1024
    monkeypatch.setattr(memory, "PROC", tmp_path / "none")
    assert swapped_bytes(11) is None


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("some avg10=12.50 avg60=3.10 avg300=0.00 total=1234\nfull avg10=4.00 avg60=0.00 avg300=0.00 total=1\n", 0.125),
        ("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 0.0),
        ("", None),
        (None, None),
    ],
)
def test_pressure_is_the_share_of_ten_seconds(tmp_path: Path, text: str | None, share: float | None) -> None:
    file = tmp_path / "memory"
    if text is not None:
        file.write_text(text)
    assert memory_pressure(file) == share

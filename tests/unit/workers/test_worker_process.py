"""Worker processes that are small Python scripts: readiness, faults at the start, log lines, ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from modelhost.engines.launch import Launch
from modelhost.errors import ModelFileInvalid, SystemLibraryMissing, WorkerStartFailed
from modelhost.workers import gpus
from modelhost.workers.process import ENGINE_TIMEOUT, LINE_BYTES, STDERR_LINES, TAIL_LINES, WorkerProcess
from modelhost.workers.process_groups import members, running_members
from tests.support.eventually import eventually_async
from tests.support.processes import is_alive

READY = 'print(\'{"event": "ready", "url": "http://x", "slots": 3, "tasks": ["chat"]}\', flush=True)\n'
IMPORTS = "import json, os, signal, subprocess, sys, time\n"
READ = "config = json.loads(sys.stdin.readline())\n"
WAIT = "sys.stdin.read()\n"


async def _start(script: str, *, timeout_seconds: float = 20.0, **options: object) -> WorkerProcess:
    launch = Launch(argv=(sys.executable, "-c", IMPORTS + script), env={"TOLD": "yes"}, config={"a": 1})
    return await WorkerProcess.start(launch, model="m", timeout_seconds=timeout_seconds, **options)  # type: ignore[arg-type]


async def test_a_worker_gets_its_configuration_and_environment_and_is_ready_when_it_says_so() -> None:
    fractions: list[float] = []
    progress = "print(json.dumps({'event': 'progress', 'fraction': config['a'] / 4}), flush=True)\n"
    script = READ + progress + "sys.stderr.write(os.environ['TOLD'] + '\\n')\n" + READY + WAIT
    worker = await _start(script, on_progress=fractions.append)
    assert fractions == [0.25]
    assert (worker.ready.url, worker.ready.slots, worker.ready.tasks) == ("http://x", 3, {"chat"})
    assert worker.name == f"m/{worker.pid}"
    await eventually_async(lambda: worker.stderr_tail() == ["yes"])
    await worker.stop()
    assert not psutil.pid_exists(worker.pid)


@pytest.mark.promise("vllm-mcp.trouble.loading")
async def test_a_reported_failure_carries_its_reason_and_the_last_lines() -> None:
    script = READ + "sys.stderr.write('tensor 7 is wrong\\n')\nsys.stderr.flush()\n"
    script += "print(json.dumps({'event': 'failed', 'code': 'load_failed', 'message': 'no such luck'}), flush=True)\n"
    with pytest.raises(WorkerStartFailed, match=r"(?s)no such luck.*tensor 7 is wrong") as failed:
        await _start(script)
    assert failed.value.details["reason"] == "load_failed"
    assert failed.value.details["stderr"] == ["tensor 7 is wrong"]


@pytest.mark.parametrize(
    ("events", "reason"),
    [([False], ENGINE_TIMEOUT), ([False, True], "timeout"), ([], "timeout")],
    ids=["imports", "loads the model", "says nothing"],
)
async def test_a_library_that_hangs_is_told_from_a_model_that_takes_long(events: list[bool], reason: str) -> None:
    told = "".join(f"print(json.dumps({{'event': 'engine', 'is_loaded': {event}}}), flush=True)\n" for event in events)
    with pytest.raises(WorkerStartFailed) as failed:
        await _start(READ + told + WAIT, timeout_seconds=2.0)
    assert failed.value.details["reason"] == reason


LOADING = """
from modelhost.engines.media.starting import run
from modelhost.engines.worker.process import UnusableFiles, read_config

def load(config):
    raise {error}

run(read_config(), load)
"""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            "AttributeError('module diffusers has no\\n attribute Evil')",
            "Error: module diffusers has no attribute Evil. ",
        ),
        ("RuntimeError('/src/onnx/core/model.cc:9 bad protobuf')", "RuntimeError: bad protobuf. "),
        ("OSError('no file named model.safetensors')", "OSError: no file named model.safetensors. "),
    ],
)
async def test_files_that_the_library_refuses_are_told_in_a_sentence(error: str, says: str) -> None:
    with pytest.raises(ModelFileInvalid) as failed:
        await _start(LOADING.format(error=error))
    message = failed.value.message
    assert says in message
    assert "Download or convert its files again, or correct its engine options" in message
    assert not [part for part in ("Traceback", str(Path(__file__).parents[3]), ".cc", "\n") if part in message]
    assert any(line.startswith("Traceback") for line in failed.value.details["stderr"])


async def test_files_of_which_the_worker_knows_what_to_do_are_told_in_its_words() -> None:
    with pytest.raises(ModelFileInvalid) as failed:
        await _start(LOADING.format(error="UnusableFiles('the vocabulary is empty: download it again.')"))
    assert failed.value.message == "m cannot be loaded: the vocabulary is empty: download it again."


@pytest.mark.parametrize(
    ("error", "lacks_memory"),
    [
        ("RuntimeError('CUDA error: device is busy')", False),
        ("OSError(24, 'Too many open files')", False),
        ("ModuleNotFoundError('no hibari')", False),
        ("MemoryError()", True),
    ],
)
async def test_a_start_that_may_succeed_later_is_no_fault_of_the_files(error: str, lacks_memory: bool) -> None:
    with pytest.raises(WorkerStartFailed) as failed:
        await _start(LOADING.format(error=error))
    assert "Traceback" not in failed.value.message
    assert (failed.value.details["reason"], failed.value.details["out_of_memory"]) == ("load_failed", lacks_memory)


async def test_a_missing_library_is_an_error_of_its_own() -> None:
    script = READ + "print(json.dumps({'event': 'failed', 'code': 'system_library_missing', 'message': 'install x'}))\n"
    with pytest.raises(SystemLibraryMissing, match=r"^install x$"):
        await _start(script)


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ("sys.exit(3)", "exited with status 3"),
        ("sys.exit(0)", "exited with status 0"),
        ("os.abort()", "was ended by SIGABRT"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("sys.exit(134)", "was ended by SIGABRT"),
        ("sys.exit(139)", "was ended by SIGSEGV"),
    ],
)
async def test_a_worker_that_ends_before_it_is_ready_tells_how(ending: str, says: str) -> None:
    with pytest.raises(WorkerStartFailed, match=f"{says}.*wrote nothing"):
        await _start(READ + ending)


async def test_a_worker_that_dies_without_reading_is_an_ordinary_failure() -> None:
    with pytest.raises(WorkerStartFailed, match="exited with status 2"):
        await _start("sys.exit(2)")


async def test_a_worker_that_is_not_ready_in_time_is_ended_with_its_children() -> None:
    script = READ + "child = subprocess.Popen(['sleep', '60'])\nsys.stderr.write(f'{child.pid}\\n')\n"
    script += "sys.stderr.flush()\ntime.sleep(60)\n"
    with pytest.raises(WorkerStartFailed, match="not ready after 2 s") as failed:
        await _start(script, timeout_seconds=2.0)
    child = int(failed.value.details["stderr"][0])
    await eventually_async(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")


async def test_a_start_that_is_cancelled_leaves_no_process() -> None:
    starting = asyncio.create_task(_start(READ + "time.sleep(60)\n"))
    me = psutil.Process()
    before = set(me.children())
    await eventually_async(lambda: set(me.children()) - before)
    (child,) = set(me.children()) - before
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not child.is_running()


async def test_a_program_that_is_not_there_is_a_failed_start() -> None:
    launch = Launch(argv=("/no/such/python",), env={}, config={})
    with pytest.raises(WorkerStartFailed, match="/no/such/python: No such file") as failed:
        await WorkerProcess.start(launch, model="m", timeout_seconds=5)
    assert failed.value.details["reason"] == "spawn"


async def test_an_announcement_that_makes_no_sense_is_a_failed_start() -> None:
    with pytest.raises(WorkerStartFailed, match="announced what no host understands"):
        await _start(READ + 'print(\'{"event": "ready"}\', flush=True)\n' + WAIT)


async def test_stray_output_before_and_after_readiness_is_kept_as_log_and_blocks_nobody() -> None:
    script = READ + "print('x' * 200_000)\nprint('[1, 2]')\n" + READY + "print('y' * 200_000, flush=True)\n"
    script += "sys.stderr.write('done\\n')\nsys.stderr.flush()\n" + WAIT
    worker = await _start(script)
    await eventually_async(lambda: "done" in worker.stderr_tail())
    await eventually_async(lambda: any(line.startswith("yyy") for line in worker.stderr_tail()))
    assert max(map(len, worker.stderr_tail())) <= LINE_BYTES
    await worker.stop()


async def test_only_the_last_lines_of_a_long_log_are_kept() -> None:
    count = STDERR_LINES * 5
    script = READ + f"sys.stderr.write(''.join(f'line {{n}}\\n' for n in range({count})))\n"
    script += "sys.stderr.write('end without newline')\nsys.stderr.flush()\n" + READY + "sys.exit(0)\n"
    worker = await _start(script)
    await worker.wait()
    assert worker.stderr_tail() == [f"line {n}" for n in range(count - TAIL_LINES + 1, count)] + ["end without newline"]


async def test_the_end_of_a_ready_worker_is_noticed_and_described() -> None:
    worker = await _start(READ + READY + WAIT)
    assert worker.is_running
    assert worker.describe_exit() == "is still running"
    os.kill(worker.pid, signal.SIGSEGV)
    assert await worker.wait() == -signal.SIGSEGV
    assert not worker.is_running
    assert worker.describe_exit() == "was ended by SIGSEGV"
    await worker.stop()


async def test_a_worker_that_has_died_does_not_run_even_before_the_event_loop_knows() -> None:
    worker = await _start(READ + READY + WAIT)
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - the event loop must not run
    assert not worker.is_running
    assert await worker.wait() == -signal.SIGKILL
    await worker.stop()


async def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    worker = await _start(READ + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + WAIT)
    await worker.stop(grace_seconds=0.2)
    assert worker.describe_exit() == "was ended by SIGKILL"


async def test_a_stop_does_not_wait_for_a_grandchild_that_fled_with_the_pipes() -> None:
    fled = "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\nsys.stderr.write(f'{child.pid}\\n')\n"
    worker = await _start(READ + fled + "sys.stderr.flush()\n" + READY + WAIT)
    await eventually_async(worker.stderr_tail)
    grandchild = int(worker.stderr_tail()[0])
    try:
        async with asyncio.timeout(60):
            await worker.stop(grace_seconds=0.2)
        assert is_alive(grandchild)
    finally:
        os.kill(grandchild, signal.SIGKILL)


async def test_the_end_of_a_worker_is_told_though_a_grandchild_that_fled_holds_the_pipes() -> None:
    fled = "child = subprocess.Popen(['sleep', '30'], start_new_session=True)\nsys.stderr.write(f'{child.pid}\\n')\n"
    worker = await _start(READ + fled + "sys.stderr.flush()\n" + READY + WAIT)
    await eventually_async(worker.stderr_tail)
    os.kill(worker.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await worker.wait() == -signal.SIGKILL
    os.kill(int(worker.stderr_tail()[0]), signal.SIGKILL)
    await worker.kill()


async def test_a_worker_is_in_a_group_of_its_own_which_ends_with_it() -> None:
    script = READ + "child = subprocess.Popen(['sleep', '60'])\nsys.stderr.write(f'{child.pid}\\n')\n"
    worker = await _start(script + "sys.stderr.flush()\n" + READY + WAIT)
    assert os.getpgid(worker.pid) == worker.pid != os.getpgid(0)
    await eventually_async(worker.stderr_tail)
    child = int(worker.stderr_tail()[0])
    await worker.stop(grace_seconds=0.2)
    await eventually_async(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")


async def test_starts_and_stops_leave_no_descriptors_and_no_zombies() -> None:
    me = psutil.Process()
    await (await _start(READ + READY + WAIT)).stop()
    before = me.num_fds()
    for _ in range(5):
        await (await _start(READ + READY + WAIT)).stop()
        with pytest.raises(WorkerStartFailed):
            await _start(READ + "sys.exit(1)")
    await eventually_async(lambda: me.num_fds() <= before)
    assert not [child for child in me.children() if child.status() == psutil.STATUS_ZOMBIE]


async def test_a_child_that_ignores_sigterm_and_has_a_group_of_its_own_is_gone_when_a_stop_returns() -> None:
    deaf = "import os, signal, time; os.setpgid(0, 0); signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
    script = READ + f"child = subprocess.Popen([sys.executable, '-c', {deaf + 'time.sleep(60)'!r}], stdout=-1)\n"
    script += "child.stdout.read(1)\nsys.stderr.write(f'{child.pid}\\n')\nsys.stderr.flush()\n" + READY + WAIT
    worker = await _start(script)
    await eventually_async(worker.stderr_tail)
    child = int(worker.stderr_tail()[0])
    assert set(members(worker.pid)) == {worker.pid, child}
    await worker.stop()
    assert not running_members(worker.pid)


async def test_the_memory_of_a_worker_is_measured_while_it_runs() -> None:
    worker = await _start(READ + "held = b'x' * 50_000_000\n" + READY + WAIT)
    assert (await worker.memory())["ram"] > 50_000_000
    await worker.stop()
    assert await worker.memory() == {}


async def test_a_stop_waits_for_the_gpus_to_forget_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []

    def bytes_by_gpu(pids: set[int]) -> dict[int, int]:
        asked.append(set(pids))
        return {0: 5} if len(asked) < 3 else {}

    monkeypatch.setattr(gpus, "has_driver", lambda: True)
    monkeypatch.setattr(gpus, "bytes_by_gpu", bytes_by_gpu)
    worker = await _start(READ + READY + WAIT)
    await worker.stop()
    assert asked == [{worker.pid}] * 3

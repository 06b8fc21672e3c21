"""A child process and its pipes, on both event loops and with both ways to learn of an end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import uvloop

from modelhost.workers.child import BLOCK_BYTES, Child

Run = Callable[[Callable[[], Awaitable[None]]], None]

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)\n"


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run an asynchronous test on the event loop of the parameter."""

    def run_on_loop(test: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                await test()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded())

    return run_on_loop


@pytest.fixture(params=["descriptor", "thread"])
def end_is_told_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "thread":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("only Linux has descriptors of processes")
    return str(request.param)


def _child(script: str) -> Child:
    return Child((sys.executable, "-c", script), dict(os.environ))


def test_what_is_sent_arrives_and_the_input_stays_open(run: Run) -> None:
    async def test() -> None:
        with closing(_child(ECHO)) as child:
            for word in (b"one\n", b"two\n"):
                child.send(word)
                assert await child.stdout.readuntil() == word
            os.kill(child.pid, signal.SIGKILL)
            await child.exited.wait()

    run(test)


def test_more_than_a_pipe_holds_is_sent_without_blocking(run: Run, tmp_path: Path) -> None:
    line = b"x" * BLOCK_BYTES * 20
    sent = tmp_path / "sent"

    async def test() -> None:
        # It does not read before that has returned, unless it never does.
        script = f"""
import pathlib, sys, time
end = time.monotonic() + 10
while not pathlib.Path({str(sent)!r}).exists():
    time.monotonic() < end or sys.exit("blocked")
print(len(sys.stdin.buffer.readline()))
"""
        with closing(_child(script)) as child:
            child.send(line + b"\n")
            sent.touch()
            assert await child.stdout.read() == b"%d\n" % (len(line) + 1)
            await child.exited.wait()

    run(test)


def test_what_is_sent_to_a_child_that_does_not_read_is_lost_without_an_error(run: Run) -> None:
    async def test() -> None:
        with closing(_child("import os, time; os.close(0); print(flush=True); time.sleep(60)")) as child:
            await child.stdout.readuntil()
            child.send(b"its input is closed")
            os.kill(child.pid, signal.SIGKILL)
            await child.exited.wait()
            child.send(b"it has ended")
        child.send(b"it is closed")

    run(test)


def test_a_child_that_ends_while_it_is_sent_much_is_an_ordinary_end(run: Run) -> None:
    async def test() -> None:
        with closing(_child("import sys; sys.stdin.read(10)")) as child:
            child.send(b"x" * BLOCK_BYTES * 20)
            await child.exited.wait()
            assert child.returncode == 0

    run(test)


@pytest.mark.parametrize(("script", "status"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)])
def test_the_end_is_told_with_its_status_and_leaves_no_zombie(
    run: Run, end_is_told_by: str, script: str, status: int
) -> None:
    async def test() -> None:
        with closing(_child(f"input(); {script}")) as child:
            assert child.returncode is None
            has_thread = any(thread.name == f"exit-of-{child.pid}" for thread in threading.enumerate())
            assert has_thread == (end_is_told_by == "thread")
            child.send(b"\n")
            await child.exited.wait()
            assert child.returncode == status
            assert not psutil.pid_exists(child.pid)

    run(test)


@pytest.mark.usefixtures("end_is_told_by")
def test_the_end_is_told_at_once_though_a_grandchild_holds_the_pipes(run: Run) -> None:
    async def test() -> None:
        script = "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid, flush=True)"
        with closing(_child(script)) as child:
            holder = int(await child.stdout.readuntil())
            await child.exited.wait()
            assert not child.stdout.at_eof()
        os.kill(holder, signal.SIGKILL)
        assert await child.stdout.read() == b""

    run(test)


@pytest.mark.usefixtures("end_is_told_by")
def test_nothing_is_left_open(run: Run) -> None:
    async def test() -> None:
        async def live() -> None:
            with closing(_child("print('word')")) as child:
                assert await child.stdout.read() == b"word\n"
                assert await child.stderr.read() == b""
                await child.exited.wait()

        await live()
        before = psutil.Process().num_fds()
        for _ in range(5):
            await live()
        assert psutil.Process().num_fds() == before

    run(test)


def test_a_child_has_a_session_of_its_own_and_none_of_our_descriptors(run: Run) -> None:
    async def test() -> None:
        with closing(_child("import os; print(os.getsid(0), *os.listdir('/dev/fd'))")) as child:
            session, *descriptors = (await child.stdout.read()).split()
            assert int(session) == child.pid
            assert set(map(int, descriptors)) <= {0, 1, 2, 3}  # 3 lists them
            await child.exited.wait()

    reading, writing = os.pipe()
    run(test)
    os.close(reading)
    os.close(writing)


def test_the_thread_of_the_loop_is_the_parent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    parents: list[threading.Thread] = []
    spawn = subprocess.Popen.__init__

    def note(*args: object, **options: object) -> None:
        parents.append(threading.current_thread())
        spawn(*args, **options)  # type: ignore[call-overload]

    async def test() -> None:
        with closing(_child("pass")) as child:
            await child.exited.wait()

    monkeypatch.setattr(subprocess.Popen, "__init__", note)
    run(test)
    assert parents == [threading.current_thread()]


def test_a_program_that_is_not_there_is_an_error_of_the_operating_system(run: Run) -> None:
    async def test() -> None:
        with pytest.raises(FileNotFoundError):
            Child(("/no/such/program",), {})

    run(test)


def test_it_starts_in_the_folder_that_is_given(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        argv = (sys.executable, "-c", f"import os; print(os.path.samefile('.', {str(tmp_path)!r}))")
        with closing(Child(argv, dict(os.environ), cwd=str(tmp_path))) as child:
            assert await child.stdout.readline() == b"True\n"
            await child.exited.wait()
        with pytest.raises(FileNotFoundError, match="nowhere"):
            Child(argv, dict(os.environ), cwd=str(tmp_path / "nowhere"))
        with pytest.raises(FileNotFoundError, match="no-such-program"):
            Child(("no-such-program",), dict(os.environ), cwd=str(tmp_path))

    run(test)


def test_who_sends_learns_when_it_has_arrived_and_that_nobody_reads(run: Run) -> None:
    much = b"x" * (8 * BLOCK_BYTES)
    reader = f"import sys; sys.stdin.buffer.readline(); sys.stdin.buffer.read({len(much)}); print('read', flush=True)"

    async def test() -> None:
        with closing(_child(reader)) as child:
            assert child.send(much)
            sending = asyncio.create_task(child.sent())
            await asyncio.sleep(0)
            assert not sending.done()
            assert child.send(b"\n" + much)
            await sending
            await child.sent()
            assert await child.stdout.readline() == b"read\n"
            await child.exited.wait()
            assert not child.send(b"more")
        with closing(_child("import os, sys; os.close(0); print('deaf', flush=True); sys.stdout.read(1)")) as child:
            await child.stdout.readline()
            assert not child.send(b"hello")
            await child.exited.wait()

    run(test)


def test_who_waits_for_a_pipe_learns_of_its_end(run: Run) -> None:
    async def test() -> None:
        with closing(_child("import time; time.sleep(60)")) as child:
            assert child.send(b"x" * (8 * BLOCK_BYTES))
            sending = asyncio.create_task(child.sent())
            await asyncio.sleep(0)
            os.killpg(child.pid, signal.SIGKILL)
            with pytest.raises(BrokenPipeError):
                await sending
            await child.exited.wait()

    run(test)


def test_a_reader_that_is_slow_makes_the_process_wait_and_loses_nothing(run: Run) -> None:
    line, count = b"y" * 1000 + b"\n", 2000
    writer = f"import sys\nfor _ in range({count}): sys.stdout.write('y' * 1000 + '\\n')\nsys.stderr.write('done')"

    async def test() -> None:
        with closing(Child((sys.executable, "-c", writer), dict(os.environ), line_bytes=4096)) as child:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await child.exited.wait()
            assert [await child.stdout.readline() for _ in range(count)] == [line] * count
            assert await child.stderr.read() == b"done"
            await child.exited.wait()

    run(test)

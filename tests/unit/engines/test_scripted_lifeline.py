"""The lifeline of a worker process, held by a parent that is killed."""

from __future__ import annotations

import asyncio
import sys

import psutil
import pytest

PARENT = """
import json, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(b'{"a": 1}\\n')
child.stdin.flush()
print(child.pid, child.stdout.readline().decode().strip(), flush=True)
child.wait()
"""
CHILD = """
import threading
from modelhost.engines.worker_process import announce_ready, read_config, watch_lifeline
config = read_config()
print("a stray print", flush=True)
watch_lifeline()
announce_ready("u" * config["a"])
threading.Event().wait()
"""


@pytest.fixture
async def parent() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, CHILD, stdout=pipe, stderr=pipe)


async def test_worker_dies_with_a_killed_parent_and_stray_prints_go_to_standard_error(
    parent: asyncio.subprocess.Process,
) -> None:
    async with asyncio.timeout(10):
        assert parent.stdout is not None
        pid, line = (await parent.stdout.readline()).decode().split(" ", 1)
        child = psutil.Process(int(pid))
        assert '"url": "u"' in line
        parent.kill()
        await parent.wait()
        await asyncio.to_thread(psutil.wait_procs, [child], 8)
        # Its standard error was inherited: the end of that pipe, too, proves that the child is gone.
        assert parent.stderr is not None
        log = await parent.stderr.read()
    assert log == b"a stray print\n"
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

"""The lifeline of a worker process, held by a parent that is killed."""

from __future__ import annotations

import asyncio
import sys

import pytest

PARENT = """
import json, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(b'{"a": 1}\\n')
child.stdin.flush()
print(child.stdout.readline().decode().strip(), flush=True)
child.wait()
"""
CHILD = """
import threading
from modelhost.engines.worker.process import announce_ready, read_config, watch_lifeline
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
        line = await parent.stdout.readline()
        assert b'"url": "u"' in line
        parent.kill()
        await parent.wait()
        # The child inherited this pipe: it ends when the child has ended, too.
        assert parent.stderr is not None
        assert await parent.stderr.read() == b"a stray print\n"

"""The processes of a session, with real ones."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from modelhost.workers.process_groups import end_group, members, running_members
from tests.support.eventually import eventually, eventually_async

# A leader with a child that ignores SIGTERM and one in a process group of its own; both say so before it does.
LEADER = """
import os, subprocess, sys
deaf = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"
own = "import os, time; os.setpgid(0, 0); print('x', flush=True); time.sleep(60)"
children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for code in (deaf, own)]
for child in children:
    child.stdout.read(1)
print(*(child.pid for child in children), flush=True)
sys.stdin.read()
"""


@contextmanager
def _session() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with leader:
        assert leader.stdout is not None
        children = [int(pid) for pid in leader.stdout.readline().split()]
        try:
            yield leader, children
        finally:
            leader.kill()
            for pid in children:
                if psutil.pid_exists(pid):
                    os.kill(pid, signal.SIGKILL)


def test_members_are_the_leader_and_its_children_whatever_their_process_group() -> None:
    with _session() as (leader, children):
        assert set(members(leader.pid)) == {leader.pid, *children}
        assert running_members(leader.pid)


def test_a_session_that_nobody_leads_has_no_members() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as ended:
        ended.wait()
    assert members(ended.pid) == []
    assert not running_members(ended.pid)


def test_a_zombie_is_a_member_that_does_not_survive() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as child:
        eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        assert members(child.pid) == [child.pid]
        assert running_members(child.pid) == []


async def test_what_a_dead_leader_leaves_is_killed_before_its_end_is_reported() -> None:
    with _session() as (leader, children):
        leader.kill()
        leader.wait()
        assert set(running_members(leader.pid)) == set(children)
        assert list(await end_group(leader.pid)) == []
        assert not running_members(leader.pid)


async def test_a_process_that_does_not_end_is_named_after_a_bounded_wait() -> None:
    with _session() as (leader, children):
        leader.kill()
        leader.wait()
        async with asyncio.timeout(5):
            # No time at all: SIGKILL has been sent, but nothing is waited for.
            left = await end_group(leader.pid, seconds=0)
        assert set(left) <= set(children)
        await eventually_async(lambda: not running_members(leader.pid))


async def test_a_stranger_that_has_got_the_pid_of_a_dead_leader_is_left_alone() -> None:
    with _session() as (leader, _):
        assert list(await end_group(leader.pid)) == []
        assert leader.poll() is None

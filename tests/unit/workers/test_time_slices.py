"""The slices of the processor that the host asks for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelhost.workers.time_slices import SLICE_NANOSECONDS, shorten_slices, slice_of

USUAL = slice_of(0)
needs_slices = pytest.mark.skipif(not USUAL, reason="slices of threads are those of Linux 6.12 and later")


def _in_a_thread(do: Callable[[], None]) -> None:
    """Call ``do`` in a thread of its own, since what it asks for stays."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(do).result()


@needs_slices
def test_a_thread_gets_short_slices_and_what_it_starts_the_usual_ones() -> None:
    def do() -> None:
        shorten_slices()
        assert slice_of(0) == SLICE_NANOSECONDS
        _in_a_thread(lambda: _is_usual(0))
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            _is_usual(child.pid)

    _in_a_thread(do)
    _is_usual(0)


def _is_usual(thread: int) -> None:
    assert slice_of(thread) == USUAL


@needs_slices
@pytest.mark.parametrize(("name", "value"), [("getpriority", -5), ("sched_getscheduler", 3)])
def test_a_priority_that_was_given_is_kept(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, name, lambda *_: value)

    def do() -> None:
        shorten_slices()
        _is_usual(0)

    _in_a_thread(do)


@pytest.mark.parametrize(("name", "value"), [("sys.platform", "darwin"), ("platform.machine", lambda: "riscv64")])
def test_other_systems_are_left_alone(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name, value)
    assert slice_of(0) is None
    _in_a_thread(shorten_slices)
    monkeypatch.undo()
    assert slice_of(0) == USUAL

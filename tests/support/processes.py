"""Processes that are to fail or to be killed, and a search for what they left behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import psutil

from tests.support.eventually import eventually
from tests.support.forked import RUNNER

MARK = "MODELHOST_TESTS_FAMILY"  # in the environment of a process and so of all its descendants


class Family:
    """A process and its descendants, found by a mark in their environment: workers outlive sessions and parents."""

    def __init__(self, argv: Sequence[str], *, env: dict[str, str] | None = None) -> None:
        self._mark = secrets.token_hex(8)
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {}), MARK: self._mark},
            start_new_session=True,
            text=True,
        )

    @classmethod
    def cli(cls, *arguments: str, env: dict[str, str] | None = None) -> Self:
        """``modelhost ARGUMENTS``."""
        return cls([sys.executable, "-m", "modelhost", *arguments], env=env)

    @classmethod
    def serve(cls, **settings: Any) -> Self:
        """The server with ``settings``, as :class:`tests.support.serving.ServedHost` starts it."""
        return cls([sys.executable, "-c", RUNNER, json.dumps({"port": 0, "threads": 1, **settings})])

    def result(self, seconds: float = 60.0) -> tuple[int, str, str]:
        """Wait for the end; return exit status, standard output and standard error."""
        output, log = self.process.communicate(timeout=seconds)
        return self.process.returncode, output, log

    def members(self) -> list[psutil.Process]:
        """Return those that are alive, the process itself included."""
        return [process for process in psutil.process_iter() if _mark_of(process) == self._mark]

    def worker(self) -> psutil.Process:
        """Wait for the first worker process and return it."""
        found: list[psutil.Process] = []

        def look() -> bool:
            found[:] = [member for member in self.members() if is_worker(member)]
            return bool(found)

        eventually(look)
        return found[0]

    def is_gone(self) -> bool:
        return not self.members()

    def close(self) -> None:
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.communicate()


@contextmanager
def family(started: Family) -> Iterator[Family]:
    """End whatever is left of ``started``."""
    try:
        yield started
    finally:
        started.close()


def is_worker(process: psutil.Process) -> bool:
    """Whether ``process`` runs an engine's worker module."""
    try:
        return any(part.startswith("modelhost.engines.") for part in process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def is_alive(pid: int) -> bool:
    """Whether ``pid`` runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def interrupt_group(process: subprocess.Popen[str]) -> None:
    """Do what Ctrl-C in a terminal does: SIGINT to the whole group in the foreground."""
    os.killpg(process.pid, signal.SIGINT)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return None

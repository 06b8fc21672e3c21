"""A worker process without a process, for tests of what is made of its life alone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from modelhost.engines.launch import Ready
from modelhost.workers.process import WorkerProcess

_pids = itertools.count(1)


class FakeProcess(WorkerProcess):
    """Lives until :meth:`die`."""

    def __init__(self) -> None:
        self.ready = Ready(url="http://127.0.0.1:9", slots=4, tasks=frozenset({"chat"}))
        self.listens = True
        """Whether requests can get to it."""
        self._number = next(_pids)
        self._ended = asyncio.Event()

    def die(self) -> None:
        self._ended.set()

    @property
    def name(self) -> str:
        return f"fake/{self._number}"

    @property
    def pid(self) -> int:
        return self._number

    @property
    def is_running(self) -> bool:
        return not self._ended.is_set()

    async def is_reachable(self) -> bool:
        return self.listens

    async def memory(self) -> Mapping[str, int]:
        return {"ram": 1000} if self.is_running else {}

    def stderr_lines(self) -> list[str]:
        return ["the fake's last line"]

    async def wait(self) -> int:
        await self._ended.wait()
        return -9

    def describe_exit(self) -> str:
        return "was ended by SIGKILL"

    async def stop(self, grace_seconds: float = 5.0) -> None:
        self.die()

    async def kill(self) -> None:
        self.die()


@dataclass(eq=False)
class FakeRequest:
    """A connection on which the worker has been silent since ``waiting_since``."""

    waiting_since: float
    last_received_at: float = float("-inf")
    sent_at: float = 0.0
    is_answered: bool = False
    is_paused: bool = False
    is_closed: bool = False
    gave_up: float | None = None
    """For how long nothing had come when it was ended."""

    def give_up(self, seconds: float) -> None:
        self.gave_up = seconds

"""Worker processes without a process, for tests of the supervisor's decisions alone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from modelhost.engines.base import Launch, ModelSpec, Ready
from modelhost.engines.scripted import Scripted
from modelhost.errors import ModelhostError, WorkerStartFailed
from modelhost.models.supervisor import Limits, Supervisor
from modelhost.workers.process import ProgressCallback, WorkerProcess

_pids = itertools.count(1)


class FakeProcess(WorkerProcess):
    """Lives until :meth:`die`."""

    def __init__(self) -> None:
        self.ready = Ready(url="http://127.0.0.1:9", slots=4, operations=frozenset({"chat"}))
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

    def stderr_tail(self) -> list[str]:
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


class FakeStarts:
    """What starts the fakes: each start takes ``load_seconds``, and the next ``failures`` of them fail."""

    def __init__(self, *, load_seconds: float = 1.0) -> None:
        self.load_seconds = load_seconds
        self.failures = 0
        self.error: Callable[[], ModelhostError] = lambda: WorkerStartFailed("no luck", model="fake", worker="fake/0")
        self.times: list[float] = []
        self.processes: list[FakeProcess] = []

    async def __call__(
        self, launch: Launch, *, model: str, timeout_seconds: float, on_progress: ProgressCallback | None = None
    ) -> WorkerProcess:
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.load_seconds)
        if self.failures:
            self.failures -= 1
            raise self.error()
        self.processes.append(FakeProcess())
        return self.processes[-1]


def fake_supervisor(
    starts: FakeStarts, *, max_in_flight: int = 2, queue_size: int = 3, request_timeout_seconds: float = 30.0
) -> Supervisor:
    """A supervisor that is not started yet."""
    limits = Limits(
        max_in_flight=max_in_flight,
        queue_size=queue_size,
        request_timeout_seconds=request_timeout_seconds,
        load_timeout_seconds=60.0,
    )
    return Supervisor(spec=ModelSpec(name="fake"), engine=Scripted(), limits=limits, start_process=starts)

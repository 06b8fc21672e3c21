"""Worker processes without a process and files without a disk, for tests of the scheduler's decisions alone."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from modelhost.config.settings import Settings
from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.scripted.engine import Scripted
from modelhost.errors import ModelFileMissing, WorkerStartFailed
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.registry import Registry, parse_registry
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.ledger import Ledger
from modelhost.models.residency.planner import BurstLimits
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.residency.status import State
from modelhost.models.residency.supervisor import SupervisorPorts
from modelhost.models.resolve.resolved import Resolved
from modelhost.models.resolve.runtime import Headroom
from modelhost.workers.process import ProgressCallback, WorkerProcess
from modelhost.workers.worker import Worker
from tests.support import fake_process

CONTEXT = 4096

SCRIPTED = Settings(engine="scripted")


class FakeProcess(fake_process.FakeProcess):
    """Lives until :meth:`die`; it takes ``stop_seconds`` to stop when it is told to."""

    def __init__(self, *, model: str = "fake", memory_bytes: int = 1, stop_seconds: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.memory_bytes = memory_bytes
        self.stop_seconds = stop_seconds
        self.was_cleaned_up = False
        """Somebody has seen to it that nothing of it is left."""

    @property
    def name(self) -> str:
        return f"{self.model}/{self.pid}"

    async def memory(self) -> Mapping[str, int]:
        return {"ram": self.memory_bytes} if self.is_running else {}

    async def stop(self, grace_seconds: float = 5.0) -> None:
        if self.is_running:
            await asyncio.sleep(self.stop_seconds)
        await self.kill()

    async def kill(self) -> None:
        self.die()
        await asyncio.sleep(0)
        self.was_cleaned_up = True


class FakeStarts:
    """What starts the fakes: each start takes ``load_seconds``, and the next ``failures`` of them fail.

    It sees to it that no model ever has two workers, and keeps count of how many there were at once.
    """

    def __init__(self, *, load_seconds: float = 1.0, stop_seconds: float = 0.0) -> None:
        self.load_seconds = load_seconds
        self.stop_seconds = stop_seconds
        self.memory_bytes = 1
        self.failures = 0
        self.error: Callable[[], Exception] = lambda: WorkerStartFailed("no luck", model="fake", worker="fake/0")
        self.progress: tuple[float, ...] = ()
        self.times: list[float] = []
        self.launches: list[Launch] = []
        self.models: list[str] = []
        """The model of each start, in their order."""
        self.processes: list[FakeProcess] = []
        self.most_at_once = 0
        self._loading: Counter[str] = Counter()

    async def __call__(
        self, launch: Launch, *, model: str, timeout_seconds: float, on_progress: ProgressCallback | None = None
    ) -> WorkerProcess:
        self.times.append(asyncio.get_running_loop().time())
        self.launches.append(launch)
        self.models.append(model)
        assert not self._loading[model], f"{model} is being loaded already"
        assert not self.alive(model), f"{model} has a worker already"
        self._loading[model] += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            for fraction in self.progress:
                await asyncio.sleep(self.load_seconds / len(self.progress))
                if on_progress is not None:
                    on_progress(fraction)
            if not self.progress:
                await asyncio.sleep(self.load_seconds)
            if self.failures:
                self.failures -= 1
                raise self.error()
        finally:
            self._loading[model] -= 1
        process = FakeProcess(model=model, memory_bytes=self.memory_bytes, stop_seconds=self.stop_seconds)
        self.processes.append(process)
        return process

    def alive(self, model: str | None = None) -> list[FakeProcess]:
        """Those that run, of all models or of one."""
        return [each for each in self.processes if each.is_running and model in (None, each.model)]

    @property
    def at_once(self) -> int:
        """How many there are now, loaded or being loaded."""
        return len(self.alive()) + self._loading.total()


class FakeFiles:
    """What finds the files: it takes ``seconds``, and each model needs what ``needs`` says (1 byte of ram)."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.needs: defaultdict[str, int] = defaultdict(lambda: 1)
        self.failures = 0
        self.error: Callable[[], Exception] = lambda: ModelFileMissing("no such file")
        self.progress: tuple[float, ...] = ()
        self.looked_for: list[str] = []
        self.headroom = Headroom()
        """What was said of the memory, when files were looked for last."""
        self.longest_context: int | None = None
        self.bytes_per_token = 0
        """Of the context that an entry asks for."""
        self.replaced: set[str] = set()
        """Models whose files are others than those that were found last."""

    async def __call__(
        self, entry: ModelEntry, on_progress: Callable[[float], None], *, headroom: Headroom | None = None
    ) -> Resolved:
        self.looked_for.append(entry.name)
        self.headroom = headroom or Headroom()
        self.replaced.discard(entry.name)
        for fraction in self.progress:
            await asyncio.sleep(self.seconds / len(self.progress))
            on_progress(fraction)
        if not self.progress:
            await asyncio.sleep(self.seconds)
        if self.failures:
            self.failures -= 1
            raise self.error()
        return self.resolved(entry)

    async def is_current(self, resolved: Resolved) -> bool:
        return resolved.spec.name not in self.replaced

    def resolved(self, entry: ModelEntry) -> Resolved:
        asked = entry.settings.context_length
        return Resolved(
            spec=ModelSpec(
                name=entry.name,
                context_length=asked or CONTEXT,
                max_in_flight=entry.settings.max_in_flight,
            ),
            engine=Scripted(),
            load_timeout_seconds=60.0,
            size_bytes=1000,
            need_bytes={"ram": self.needs[entry.name] + self.bytes_per_token * (asked or 0)},
            longest_context=self.longest_context,
        )


def fake_entry(
    name: str = "fake", *, is_pinned: bool = False, aliases: tuple[str, ...] = (), **more: Any
) -> ModelEntry:
    """An entry of the registry; ``more`` are settings."""
    settings = Settings(**{"engine": "scripted", "max_in_flight": 2, "queue_size": 3, **more})
    return ModelEntry(
        name=name,
        aliases=aliases,
        settings=settings,
        is_pinned=is_pinned,
        idle_unload_seconds=settings.idle_unload_secs,
    )


def fake_scheduler(
    starts: FakeStarts,
    *entries: ModelEntry,
    files: FakeFiles | None = None,
    budget: Mapping[str, int] | None = None,
    bursts: BurstLimits | None = None,
) -> Scheduler:
    """A scheduler with the models of ``entries``, none of them loaded; the files of none are known yet."""
    files = files or FakeFiles()
    ports = SupervisorPorts(find=files, is_current=files.is_current, start_process=starts)
    scheduler = Scheduler(Ledger(budget or {}, bursts), ports)
    for entry in entries:
        scheduler.add(entry)
    return scheduler


async def one_ready(starts: FakeStarts, **settings: Any) -> tuple[Scheduler, HostedModel]:
    """A scheduler with one model that is loaded, and the model."""
    scheduler = fake_scheduler(starts, fake_entry(**settings))
    model = scheduler.models["fake"]
    await scheduler.load(model, wait=True)
    return scheduler, model


def state_of(scheduler: Scheduler, model: HostedModel) -> State:
    """What the model is doing."""
    return scheduler.status(model).state


async def lease_once(scheduler: Scheduler, model: HostedModel) -> Worker:
    """Take a worker and give it back at once."""
    async with scheduler.lease(model) as worker:
        return worker


async def crash(starts: FakeStarts, model: HostedModel) -> None:
    """Let the model's worker die; returns when the scheduler knows."""
    (process,) = starts.alive(model.name)
    process.die()
    while model.worker is not None:  # noqa: ASYNC110 (virtual time: nothing is waited for)
        await asyncio.sleep(0)


async def end(scheduler: Scheduler, starts: FakeStarts, *, drain_seconds: float = 0.0) -> None:
    """Stop the scheduler and see that nothing of its own is left: no worker, no task, no one who waits."""
    await scheduler.stop(drain_seconds)
    assert not starts.at_once
    assert all(process.was_cleaned_up for process in starts.processes)
    await turns(2)  # callbacks of what has just ended
    own = ("finding ", "loading ", "ending ", "watching ", "measuring ", "monitoring ")
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(own)]
    assert not any(record.queue for record in scheduler.ledger.records.values())


async def turns(count: int = 8) -> None:
    """Let the event loop go round, without any time passing."""
    for _ in range(count):
        await asyncio.sleep(0)


def waiting_and_running(scheduler: Scheduler, model: HostedModel) -> tuple[int, int]:
    """Requests at work and waiting."""
    status = scheduler.status(model)
    return status.in_flight, status.queue_length


def fake_registry(*entries: str | dict[str, Any], **more: Any) -> Registry:
    """A registry file with these entries, which the scripted engine serves."""
    models = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
    content = yaml.safe_dump({"models": models, **more}).encode()
    return parse_registry(content, Path("models.yaml"), SCRIPTED)

"""Any order of requests, cancellations, crashes, failing starts, loads, unloads and changes of the registry, task by
task in virtual time: everyone is answered once, the counts stay right, no model has two workers, and nothing is left.

What the ledger decides is tested by itself; here it is the tasks and the news between them that may come in any order.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelhost.errors import ModelBusy, ModelhostError, ModelNotFound, SetupError, Unavailable, WorkerError
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.planner import BurstLimits
from tests.support.fake_workers import FakeFiles, FakeStarts, end, fake_entry, fake_scheduler, turns

pytestmark = pytest.mark.usefixtures("virtual_time")

NAMES = ("ant", "bee", "cat")
MOST_LOADED, MAX_IN_FLIGHT, QUEUE_SIZE = 2, 2, 3
REFUSALS = (Unavailable, WorkerError, SetupError, ModelBusy, ModelNotFound)

Step = tuple[str, float]
Work = Callable[["Client", HostedModel], Awaitable[None]]
number = st.integers(0, 12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), number),
        st.tuples(st.just("ask"), number),
        st.tuples(st.just("ask"), number),
        st.tuples(st.just("finish"), number),
        st.tuples(st.just("finish"), number),
        st.tuples(st.just("cancel"), number),
        st.tuples(st.just("turn"), st.integers(1, 3)),
        st.tuples(st.just("pass time"), st.sampled_from([0.05, 0.1, 0.3, 1.0, 4.9, 5.0])),
        st.tuples(st.just("pass time"), st.sampled_from([0.05, 0.1, 0.3, 1.0, 4.9, 5.0])),
        st.tuples(st.just("crash"), number),
        st.tuples(st.just("fail starts"), st.integers(1, 4)),
        st.tuples(st.just("fail finds"), st.integers(1, 2)),
        st.tuples(st.just("load"), number),
        st.tuples(st.just("unload"), number),
        st.tuples(st.just("force"), number),
        st.tuples(st.just("remove"), number),
        st.tuples(st.just("change"), number),
    ),
    max_size=50,
)


@dataclass
class Client:
    """One request; ``answers`` has to end with exactly one entry."""

    may_finish: asyncio.Event = field(default_factory=asyncio.Event)
    answers: list[str] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class World:
    """A scheduler, its clients and those who administer it."""

    def __init__(self) -> None:
        self.starts, self.files = FakeStarts(load_seconds=0.3, stop_seconds=0.1), FakeFiles(seconds=0.1)
        self.scheduler = fake_scheduler(
            self.starts,
            *map(self.entry, NAMES),
            files=self.files,
            budget={MODELS: MOST_LOADED},
            bursts=BurstLimits(requests=3, seconds=2.0),
        )
        self.clients: list[Client] = []
        self.holding: Counter[int] = Counter()
        self.changes = 0

    def entry(self, name: str, context_length: int = 100) -> Any:
        return fake_entry(
            name,
            max_in_flight=MAX_IN_FLIGHT,
            queue_size=QUEUE_SIZE,
            request_timeout=5.0,
            context_length=context_length,
            idle_unload_secs=3.0 if name == "cat" else None,
        )

    def _model(self, value: float) -> HostedModel | None:
        return self.scheduler.names.get(NAMES[int(value) % len(NAMES)])

    async def take(self, step: Step) -> None:
        kind, value = step
        if kind in ("ask", "load", "unload", "force"):
            self._ask_for(kind, value)
        elif kind in ("finish", "cancel"):
            self._go_on(kind, value)
        elif kind in ("remove", "change"):
            self._edit(kind, value)
        elif kind == "turn":
            await turns(int(value))
        elif kind == "pass time":
            await asyncio.sleep(value)
        else:
            self._do_harm(kind, int(value))
        self.check()

    def _ask_for(self, kind: str, value: float) -> None:
        model = self._model(value)
        work = {"ask": self._asked, "load": self._loaded, "unload": self._unloaded, "force": self._forced}[kind]
        if model is not None:
            self.clients.append(client := Client())
            client.task = asyncio.create_task(self._answered(client, work, model))

    def _go_on(self, kind: str, value: float) -> None:
        client = self.clients[int(value) % len(self.clients)] if self.clients else None
        if client is not None and client.task is not None:
            client.may_finish.set() if kind == "finish" else client.task.cancel()

    def _edit(self, kind: str, value: float) -> None:
        name = NAMES[int(value) % len(NAMES)]
        if kind == "change":
            self.changes += 1
            self.scheduler.add(self.entry(name, 100 + self.changes % 2))
        elif name in self.scheduler.names:
            self.scheduler.remove(name)

    def _do_harm(self, kind: str, value: int) -> None:
        match kind:
            case "crash" if alive := self.starts.alive():
                alive[value % len(alive)].die()
            case "fail starts":
                self.starts.failures = value
            case "fail finds":
                self.files.failures = value

    async def _answered(self, client: Client, work: Work, model: HostedModel) -> None:
        try:
            # As in the host, where a model is found and asked for in one breath.
            if self.scheduler.names.get(model.name) is model:
                await work(client, model)
            client.answers.append("served")
        except REFUSALS as refusal:
            client.answers.append(refusal.code)
        except asyncio.CancelledError:
            client.answers.append("cancelled")
            raise

    async def _asked(self, client: Client, model: HostedModel) -> None:
        async with self.scheduler.lease(model) as worker:
            self.holding[worker.process.pid] += 1
            self.check()
            try:
                await client.may_finish.wait()
            finally:
                self.holding[worker.process.pid] -= 1

    async def _loaded(self, client: Client, model: HostedModel) -> None:
        await self.scheduler.load(model, wait=True)

    async def _unloaded(self, client: Client, model: HostedModel) -> None:
        await self.scheduler.unload(model)

    async def _forced(self, client: Client, model: HostedModel) -> None:
        await self.scheduler.unload(model, force=True)

    def check(self) -> None:
        assert self.starts.most_at_once <= MOST_LOADED
        for model in self.scheduler.models.values():
            status = self.scheduler.status(model)
            held = self.holding[model.worker.process.pid] if model.worker is not None else 0
            assert 0 <= held <= status.in_flight <= MAX_IN_FLIGHT
            assert 0 <= status.queue_length <= QUEUE_SIZE

    async def settle(self) -> None:
        """Let everyone finish and see that nothing is left."""
        self.starts.failures = self.files.failures = 0
        for client in self.clients:
            client.may_finish.set()
        tasks = [client.task for client in self.clients if client.task is not None]
        # Waits are bounded by 5 s and loads by 0.3 s, but a burst of others may come between, and a pause of 30 s.
        async with asyncio.timeout(300):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        faults = [each for each in outcomes if isinstance(each, Exception) and not isinstance(each, ModelhostError)]
        assert not faults, faults
        for client, task in zip(self.clients, tasks, strict=True):
            # A task that was cancelled before it began has no answer.
            assert len(client.answers) == 1 or (task.cancelled() and not client.answers), client.answers
        assert not self.holding.total()
        assert not self.scheduler.changes.awaited_models
        for model in self.scheduler.models.values():
            status = self.scheduler.status(model)
            assert (status.in_flight, status.queue_length) == (0, 0)


# The unloading begins in the very turn of the loop in which the worker becomes ready.
READY_AND_UNLOADED: list[Step] = [
    ("load", 7),
    ("ask", 11),
    ("ask", 0),
    ("pass time", 0.3),
    ("unload", 1),
    ("pass time", 0.3),
    ("unload", 0),
    ("ask", 0),
    ("change", 12),
    ("ask", 12),
]


@given(steps)
@example(READY_AND_UNLOADED)
@settings(max_examples=300, deadline=None)
async def test_every_request_is_answered_once_and_the_counts_stay_right(taken: list[Step]) -> None:
    world = World()
    for step in taken:
        await world.take(step)
    await world.settle()
    # However bad it was, all models recover: a pause is 30 s at most.
    await asyncio.sleep(31)
    for name in NAMES:
        model = world.scheduler.add(world.entry(name))
        async with world.scheduler.lease(model):
            pass
    world.check()
    await end(world.scheduler, world.starts)


@given(steps, st.sampled_from([0.0, 1.0]))
@settings(max_examples=200, deadline=None)
async def test_a_stop_at_any_moment_answers_everyone_and_leaves_no_worker(
    taken: list[Step], drain_seconds: float
) -> None:
    world = World()
    for step in taken:
        await world.take(step)
    await end(world.scheduler, world.starts, drain_seconds=drain_seconds)
    began = len(world.starts.times)
    await world.settle()
    await asyncio.sleep(31)
    assert len(world.starts.times) == began

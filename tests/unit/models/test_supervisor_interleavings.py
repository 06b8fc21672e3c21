"""Any order of requests, cancellations, crashes and failing starts: counts stay right, everyone is answered once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from modelhost.errors import ModelFailed, QueueFull, QueueTimeout, ShuttingDown
from modelhost.models.supervisor import Supervisor
from tests.support.fake_workers import FakeStarts, fake_supervisor
from tests.support.virtual_time import run_in_virtual_time

MAX_IN_FLIGHT, QUEUE_SIZE = 2, 3
REFUSALS = (QueueFull, QueueTimeout, ModelFailed, ShuttingDown)

Step = tuple[str, float]
number = st.integers(0, 12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.just(0)),
        st.tuples(st.just("ask"), st.just(0)),
        st.tuples(st.just("finish"), number),
        st.tuples(st.just("cancel"), number),
        st.tuples(st.just("turn"), st.integers(1, 3)),
        st.tuples(st.just("pass time"), st.sampled_from([0.05, 0.1, 1.0, 4.9, 5.0])),
        st.tuples(st.just("crash"), st.just(0)),
        st.tuples(st.just("fail starts"), st.integers(1, 4)),
    ),
    max_size=40,
)


@dataclass
class Client:
    """One request; ``answers`` has to end with exactly one entry."""

    may_finish: asyncio.Event = field(default_factory=asyncio.Event)
    answers: list[str] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class World:
    """A supervisor and its clients."""

    def __init__(self) -> None:
        self.starts = FakeStarts(load_seconds=0.3)
        self.supervisor: Supervisor = fake_supervisor(
            self.starts, max_in_flight=MAX_IN_FLIGHT, queue_size=QUEUE_SIZE, request_timeout_seconds=5.0
        )
        self.clients: list[Client] = []
        self.holding = 0

    async def take(self, step: Step) -> None:
        kind, value = step
        client = self.clients[int(value) % len(self.clients)] if self.clients else None
        match kind:
            case "ask":
                self.clients.append(asked := Client())
                asked.task = asyncio.create_task(self._ask(asked))
            case "finish" if client is not None:
                client.may_finish.set()
            case "cancel" if client is not None and client.task is not None:
                client.task.cancel()
            case "turn":
                for _ in range(int(value)):
                    await asyncio.sleep(0)
            case "pass time":
                await asyncio.sleep(value)
            case "crash":
                self.starts.processes[-1].die()
            case "fail starts":
                self.starts.failures = int(value)
        self.check()

    async def _ask(self, client: Client) -> None:
        try:
            async with self.supervisor.lease():
                self.holding += 1
                self.check()
                try:
                    await client.may_finish.wait()
                finally:
                    self.holding -= 1
            client.answers.append("served")
        except REFUSALS as refusal:
            client.answers.append(refusal.code)
        except asyncio.CancelledError:
            client.answers.append("cancelled")
            raise

    def check(self) -> None:
        assert 0 <= self.holding <= self.supervisor.in_flight <= MAX_IN_FLIGHT
        assert 0 <= self.supervisor.queue_length <= QUEUE_SIZE

    async def settle(self) -> None:
        """Let everyone finish and see that nothing is left."""
        self.starts.failures = 0
        for client in self.clients:
            client.may_finish.set()
        tasks = [client.task for client in self.clients if client.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        started = [client for client in self.clients if client.answers or not client.task.cancelled()]  # type: ignore[union-attr]
        assert all(len(client.answers) == 1 for client in started), [client.answers for client in self.clients]
        assert (self.supervisor.in_flight, self.supervisor.queue_length, self.holding) == (0, 0, 0)


async def _live_through(taken: Sequence[Step]) -> None:
    world = World()
    await world.supervisor.start()
    for step in taken:
        await world.take(step)
    await world.settle()
    # However bad it was, the model recovers: a pause is 30 s at most.
    await asyncio.sleep(31)
    async with world.supervisor.lease():
        pass
    await world.supervisor.stop(0)
    assert not any(process.is_running for process in world.starts.processes)


async def _stop_in_the_middle(taken: Sequence[Step]) -> None:
    world = World()
    await world.supervisor.start()
    for step in taken:
        await world.take(step)
    await world.supervisor.stop(0)
    await world.settle()
    assert not any(process.is_running for process in world.starts.processes)


@given(steps)
@settings(max_examples=300, deadline=None)
def test_every_request_is_answered_once_and_the_counts_stay_right(taken: list[Step]) -> None:
    run_in_virtual_time(_live_through(taken))


@given(steps)
@settings(max_examples=150, deadline=None)
def test_a_stop_at_any_moment_answers_everyone_and_leaves_no_worker(taken: list[Step]) -> None:
    run_in_virtual_time(_stop_in_the_middle(taken))

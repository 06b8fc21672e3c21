"""One turn with a model, and what is measured of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec.structs import replace

from modelhost.chat import turn
from modelhost.chat.generation import MOST_AT_ONCE
from modelhost.chat.notes import Notes
from modelhost.chat.turn import turn_of
from modelhost.engines.scripted.engine import Scripted
from modelhost.exchange.messages import Message
from modelhost.exchange.requests import ChatRequest
from modelhost.models.residency.hosted import HostedModel, Throughput
from modelhost.workers.worker import Worker
from tests.support.fake_workers import fake_entry

REQUEST = ChatRequest(messages=(Message(role="user", content="hello"),))


class Clock:
    """What ``time`` is to the code under test."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


def worker_of(*, slots: int | None) -> Worker:
    ready = SimpleNamespace(tasks={"chat"}, sees_images=False, hears_audio=False, slots=slots)
    return cast("Worker", SimpleNamespace(ready=ready, engine=Scripted(), model="m"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still but for what the test does to it."""
    found = Clock()
    monkeypatch.setattr(turn, "time", found)
    return found


async def test_the_time_in_which_a_model_is_loaded_is_no_part_of_its_pace(clock: Clock) -> None:
    model = HostedModel(fake_entry())
    worker = worker_of(slots=None)

    @asynccontextmanager
    async def lease() -> AsyncIterator[Worker]:
        clock.now += 60.0  # it is loaded
        yield worker

    async with turn_of(model, REQUEST, lease(), Notes("m")) as (generation, _):
        generation.report.first_at = clock.now + 0.5
        generation.report.usage = {"completion_tokens": 20}
        clock.now += 2.5
    assert model.throughput.measured(clock.now) == Throughput(tokens_per_second=8.0, latency_seconds=0.5)


@pytest.mark.parametrize(("slots", "at_once"), [(1, 1), (3, 3), (None, MOST_AT_ONCE)])
async def test_a_model_is_given_as_many_choices_at_a_time_as_it_has_slots(slots: int | None, at_once: int) -> None:
    lease = nullcontext(worker_of(slots=slots))
    async with turn_of(HostedModel(fake_entry()), replace(REQUEST, n=8), lease, Notes("m")) as (generation, _):
        assert generation.at_once == at_once

"""One turn with a model, and what is measured of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest

from modelhost.chat import turn
from modelhost.chat.notes import Notes
from modelhost.chat.turn import turn_of
from modelhost.engines.scripted import Scripted
from modelhost.exchange.messages import Message
from modelhost.exchange.requests import ChatRequest
from modelhost.models.hosted import HostedModel
from modelhost.models.pace import Figures
from modelhost.workers.worker import Worker
from tests.support.fake_workers import fake_entry

REQUEST = ChatRequest(messages=(Message(role="user", content="hello"),))


class Clock:
    """What ``time`` is to the code under test."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still but for what the test does to it."""
    found = Clock()
    monkeypatch.setattr(turn, "time", found)
    return found


async def test_the_time_in_which_a_model_is_loaded_is_no_part_of_its_pace(clock: Clock) -> None:
    model = HostedModel(fake_entry())
    worker = SimpleNamespace(ready=SimpleNamespace(tasks={"chat"}, sees_images=False), engine=Scripted(), model="m")

    @asynccontextmanager
    async def lease() -> AsyncIterator[Worker]:
        clock.now += 60.0  # it is loaded
        yield cast("Worker", worker)

    async with turn_of(model, REQUEST, lease(), Notes("m")) as (generation, _):
        generation.report.first_at = clock.now + 0.5
        generation.report.usage = {"completion_tokens": 20}
        clock.now += 2.5
    assert model.pace.figures(clock.now) == Figures(tokens_per_second=8.0, latency_seconds=0.5)

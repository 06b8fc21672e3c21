"""The log of a model: the lines of its worker, also after that has ended, and what happened to it."""

from __future__ import annotations

import pytest

from modelhost.models.residency.status import State
from tests.support.fake_workers import FakeStarts, crash, end, one_ready

pytestmark = pytest.mark.usefixtures("virtual_time")

LAST = ("the fake's last line",)


async def test_lines_are_kept_when_the_worker_is_unloaded() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    assert model.log().lines == LAST
    await scheduler.unload(model)
    log = model.log()
    assert (model.worker, log.lines) == (None, LAST)
    assert [event.state for event in log.events][-2:] == [State.STOPPING, State.UNLOADED]
    await end(scheduler, starts)


async def test_lines_are_kept_when_the_worker_crashes() -> None:
    starts = FakeStarts()
    scheduler, model = await one_ready(starts)
    ready = len(model.log().events)
    await crash(starts, model)
    assert model.last_lines == LAST
    assert len(model.log().events) > ready
    await end(scheduler, starts)

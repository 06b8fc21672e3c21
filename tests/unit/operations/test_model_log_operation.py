"""What can be read of a model's log."""

from __future__ import annotations

import pytest

from modelhost.errors import ModelNotFound
from modelhost.operations.models import LOGS
from tests.unit.operations.fake_host import FakeHost, ready


async def test_the_last_lines_and_events_are_shown() -> None:
    host = FakeHost(ready("qwen", aliases=("q",)))
    logs = await LOGS.run(host, LOGS.parse({"model_id": "q", "limit": "3"}))
    assert (logs.model_id, logs.status, logs.lines) == ("qwen", "loaded", ["line 297", "line 298", "line 299"])
    assert [(event.kind, event.state) for event in logs.events] == [("state", "ready")]
    assert len((await LOGS.run(host, LOGS.parse({"model_id": "q"}))).lines) == 200


async def test_a_model_that_is_not_there_has_no_log() -> None:
    with pytest.raises(ModelNotFound):
        await LOGS.run(FakeHost(), LOGS.parse({"model_id": "nobody"}))

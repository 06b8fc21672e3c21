"""Events as every face tells them."""

from __future__ import annotations

from modelhost.models.residency.status import ModelEvent, State
from modelhost.operations.reports import EventReport, event_report


def test_a_report_is_the_event_as_json() -> None:
    event = ModelEvent(at=1.0, kind="progress", model="a", state=State.LOADING, activity="load", progress=0.5)
    assert event_report(event).model_dump(mode="json") == {
        "at": 1.0,
        "kind": "progress",
        "model": "a",
        "state": "loading",
        "activity": "load",
        "progress": 0.5,
        "message": None,
    }


def test_a_report_leaves_nothing_out() -> None:
    assert set(ModelEvent.__struct_fields__) == set(EventReport.model_fields)

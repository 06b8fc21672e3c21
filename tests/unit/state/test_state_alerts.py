"""The history of alerts, on both databases."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

from modelhost.monitor.alerts.states import Alert, AlertState
from modelhost.state.history.alerts import RETENTION
from modelhost.state.store import StateStore

NOW = float(int(time.time()))
FIRING = Alert(
    rule="worker-exits",
    host="gpu-1",
    subject="qwen",
    metric="worker_exits",
    severity="critical",
    condition="increase(worker_exits, 600 s) >= 3",
    summary="The model's worker keeps ending.",
    state=AlertState.FIRING,
    value=3.0,
    started_at=NOW - 60,
    fired_at=NOW - 50,
)
RESOLVED = replace(FIRING, state=AlertState.RESOLVED, resolved_at=NOW)


async def test_alerts_are_read_as_they_were_stored_the_newest_change_first(store: StateStore) -> None:
    other = replace(FIRING, rule="full", subject="", fired_at=NOW - 20)
    await store.alerts.add([FIRING, RESOLVED])
    await store.alerts.add([other])
    assert await store.alerts.list(limit=10) == (RESOLVED, other, FIRING)
    assert await store.alerts.list(limit=1) == (RESOLVED,)
    assert await store.alerts.list(limit=10, rule="full") == (other,)
    assert await store.alerts.list(limit=10, before=datetime.fromtimestamp(NOW, UTC)) == (other, FIRING)


async def test_old_alerts_are_deleted_when_one_is_stored(store: StateStore) -> None:
    old = replace(FIRING, fired_at=NOW - RETENTION.total_seconds() - 1)
    await store.alerts.add([old])
    await store.alerts.add([RESOLVED])
    assert await store.alerts.list(limit=10) == (RESOLVED,)


async def test_the_name_of_a_model_that_no_database_takes_delays_no_alert(store: StateStore) -> None:
    await store.alerts.add([replace(FIRING, subject="a\0b"), FIRING])
    assert {alert.subject for alert in await store.alerts.list(limit=10)} == {"a\N{REPLACEMENT CHARACTER}b", "qwen"}


async def test_the_history_is_open_once_it_was_used(store: StateStore) -> None:
    before = store.alerts.is_open
    await store.alerts.list(limit=1)
    assert (before, store.alerts.is_open) == (False, True)

"""Alerts from evaluation to log, history, subscribers and webhooks, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pytest
from structlog.testing import capture_logs

from modelhost.config.alerts import AlertRule
from modelhost.errors import DatabaseUnavailable
from modelhost.monitor.alerts.service import Alerts, Destinations, Measured
from modelhost.monitor.alerts.source import MetricQuery
from modelhost.monitor.alerts.states import Alert

INTERVAL_SECONDS = 10.0
pytestmark = pytest.mark.usefixtures("virtual_time")


class ListedStore:
    """Keeps alerts in a list, unless it is broken."""

    def __init__(self) -> None:
        self.stored: list[Alert] = []
        self.is_open = False
        self.is_broken = False

    async def add(self, alerts: Sequence[Alert]) -> None:
        if self.is_broken:
            raise DatabaseUnavailable("The database does not work.")
        self.stored.extend(alerts)

    async def list(self, *, limit: int, before: datetime | None, rule: str | None) -> Sequence[Alert]:
        assert before is None
        if self.is_broken:
            raise DatabaseUnavailable("The database does not work.")
        return [alert for alert in reversed(self.stored) if rule in {None, alert.rule}][:limit]


class ListedMessages:
    """Keeps what it is to send."""

    def __init__(self) -> None:
        self.sent: list[list[Alert]] = []
        self.is_closed = False

    def send(self, alerts: Sequence[Alert]) -> None:
        self.sent.append(list(alerts))

    async def close(self, seconds: float) -> None:
        self.is_closed = seconds > 0


class Temperatures:
    """A source of the temperature of GPUs."""

    metrics = ("gpu_temperature_celsius",)

    def __init__(self) -> None:
        self.queries: list[MetricQuery] = []
        self.is_faulty = False

    async def read(self, query: MetricQuery) -> Mapping[str, float]:
        self.queries.append(query)
        if self.is_faulty:
            raise RuntimeError("no sensor")
        return {"gpu:0": 90.0}


class World:
    """Alerts on the length of a queue, and what becomes of them."""

    def __init__(
        self,
        *sources: Any,
        refresh: Mapping[str, Callable[[], Awaitable[None]]] = MappingProxyType({}),
        store: ListedStore | None = None,
        host: str = "this",
        **rules: Mapping[str, Any],
    ) -> None:
        busy = {"metric": "memory_used_share", "threshold": 0.9, "window": 30, "statistic": "last", "for": 20}
        self.used = {"ram": 0.0}
        self.store, self.messages = store or ListedStore(), ListedMessages()
        self.alerts = Alerts(
            {name: AlertRule.model_validate(fields) for name, fields in {"full": busy, **rules}.items()},
            measured=Measured(probes={"memory_used_share": lambda: self.used}, sources=sources, refresh=refresh),
            destinations=Destinations(host=host, store=self.store, notifier=self.messages),
            interval_seconds=INTERVAL_SECONDS,
            clock=asyncio.get_running_loop().time,
        )
        self.alerts.start()

    async def pass_intervals(self, count: int) -> None:
        await asyncio.sleep(count * INTERVAL_SECONDS)

    def states(self) -> list[tuple[str, str]]:
        return [(alert.subject, alert.state.value) for alert in self.alerts.active]


async def test_an_alert_goes_from_pending_to_firing_to_resolved_into_log_history_and_messages() -> None:
    world = World()
    with capture_logs() as logs:
        world.used["ram"] = 0.95
        await world.pass_intervals(2)
        assert (world.states(), world.messages.sent) == ([("ram", "pending")], [])
        await world.pass_intervals(2)
        assert world.states() == [("ram", "firing")]
        world.used["ram"] = 0.5
        await world.pass_intervals(2)
        assert world.states() == []
        await world.alerts.stop()
    assert [alert.state.value for alert in world.store.stored] == ["firing", "resolved"]
    assert [[alert.state.value for alert in sent] for sent in world.messages.sent] == [["firing"], ["resolved"]]
    assert [(log["event"], log["subject"]) for log in logs] == [("alert_firing", "ram"), ("alert_resolved", "ram")]
    assert world.messages.is_closed


async def test_nothing_is_stored_and_sent_while_nothing_changes() -> None:
    world = World()
    await world.pass_intervals(100)
    await world.alerts.stop()
    assert (world.store.stored, world.messages.sent) == ([], [])


async def test_subscribers_get_alerts_that_fire_and_are_resolved() -> None:
    world = World()
    async with world.alerts.changes() as subscription:
        world.used["ram"] = 0.95
        await world.pass_intervals(5)
        found = [await anext(subscription.read())]
        world.used["ram"] = 0.5
        await world.pass_intervals(2)
        found.append(await anext(subscription.read()))
    await world.alerts.stop()
    assert [alert.state.value for alert in found] == ["firing", "resolved"]


async def test_history_waits_for_a_database_that_fails_and_is_complete_afterwards() -> None:
    world = World()
    world.store.is_broken = True
    world.used["ram"] = 0.95
    with capture_logs() as logs:
        await world.pass_intervals(10)
        assert world.store.stored == []
        world.store.is_broken = False
        await world.pass_intervals(2)
    assert [alert.state.value for alert in await world.alerts.history()] == ["firing"]
    assert [log["event"] for log in logs] == ["alert_firing", "alert_history_waits"]
    await world.alerts.stop()


async def test_other_sources_are_asked_with_the_window_and_statistic_of_the_rule() -> None:
    temperatures = Temperatures()
    hot = {"metric": "gpu_temperature_celsius", "statistic": "min", "comparison": ">=", "threshold": 88, "window": 120}
    world = World(temperatures, hot=hot)
    await world.pass_intervals(2)
    assert world.states() == [("gpu:0", "firing")]
    assert temperatures.queries[0] == MetricQuery(metric="gpu_temperature_celsius", statistic="min", window_seconds=120)
    await world.alerts.stop()


async def test_what_probes_return_is_refreshed_before_each_evaluation() -> None:
    async def refresh() -> None:
        await asyncio.sleep(0.1)
        world.used["ram"] = 0.95

    async def never() -> None:
        raise AssertionError("no rule watches it")

    world = World(refresh={"memory_used_share": refresh, "gpu_temperature_celsius": never})
    await world.pass_intervals(5)
    assert world.states() == [("ram", "firing")]
    await world.alerts.stop()


async def test_rules_can_be_replaced_and_what_the_old_ones_found_is_resolved() -> None:
    world = World()
    world.used["ram"] = 0.95
    await world.pass_intervals(4)
    assert world.states() == [("ram", "firing")]
    rules = {"fuller": AlertRule(metric="memory_used_share", threshold=0.9, statistic="last", window_seconds=30)}
    world.alerts.apply_rules(rules)
    await world.pass_intervals(2)
    await world.alerts.stop()
    assert [(alert.rule, alert.state.value) for alert in world.store.stored] == [
        ("full", "firing"),
        ("full", "resolved"),
        ("fuller", "firing"),
    ]


async def test_a_rule_that_changes_keeps_its_alert() -> None:
    world = World()
    world.used["ram"] = 0.95
    await world.pass_intervals(4)
    (before,) = world.alerts.active
    changed = world.alerts.rules["full"].model_copy(update={"summary": "Buy some.", "threshold": 0.5})
    world.alerts.apply_rules({"full": changed})
    await world.pass_intervals(2)
    (after,) = world.alerts.active
    assert (after.summary, after.fired_at, after.state) == ("Buy some.", before.fired_at, before.state)
    assert after.condition.endswith("> 0.5")
    await world.alerts.stop()


async def test_an_alert_whose_severity_changes_is_resolved_as_what_it_was_and_begins_anew() -> None:
    world = World()
    world.used["ram"] = 0.95
    await world.pass_intervals(4)
    changed = world.alerts.rules["full"].model_copy(update={"severity": "critical", "for_seconds": 0.0})
    world.alerts.apply_rules({"full": changed})
    await world.pass_intervals(2)
    assert world.states() == [("ram", "firing")]
    await world.alerts.stop()
    assert [(alert.severity, alert.state.value) for alert in world.store.stored] == [
        ("warning", "firing"),
        ("warning", "resolved"),
        ("critical", "firing"),
    ]


async def fired_before(host: str = "this") -> World:
    """Return a host that ended while an alert fired."""
    world = World(host=host)
    world.used["ram"] = 0.95
    await world.pass_intervals(4)
    await world.alerts.stop()
    assert [alert.state.value for alert in world.store.stored] == ["firing"]
    return world


async def test_an_alert_that_fired_when_the_host_ended_is_resolved_by_the_next_one_that_opens_the_database() -> None:
    before = await fired_before()
    after = World(store=before.store)
    await after.pass_intervals(3)
    assert (after.states(), after.messages.sent) == ([], [])
    before.store.is_open = True
    await after.pass_intervals(2)
    await after.alerts.stop()
    ((resolved,),) = after.messages.sent
    assert (resolved.state.value, resolved.started_at) == ("resolved", before.store.stored[0].started_at)
    assert before.store.stored[1:] == [resolved]


async def test_an_alert_that_still_fires_after_a_restart_is_the_same_one() -> None:
    before = await fired_before()
    before.store.is_open = True
    after = World(store=before.store)
    after.used["ram"] = 0.97
    await after.pass_intervals(3)
    (alert,) = after.alerts.active
    assert (alert.state.value, alert.fired_at) == ("firing", before.store.stored[0].fired_at)
    assert after.messages.sent == []
    await after.alerts.stop()


async def test_alerts_of_other_hosts_and_those_that_have_changed_since_are_not_taken_up() -> None:
    before = await fired_before("another")
    after = World(store=before.store)
    after.used["ram"] = 0.95
    await after.pass_intervals(4)
    after.used["ram"] = 0.5
    await after.pass_intervals(2)
    before.store.is_open = True
    await after.pass_intervals(2)
    await after.alerts.stop()
    assert [(alert.host, alert.state.value) for alert in before.store.stored] == [
        ("another", "firing"),
        ("this", "firing"),
        ("this", "resolved"),
    ]


async def test_a_database_that_fails_at_first_delays_what_is_taken_up() -> None:
    before = await fired_before()
    before.store.is_open = before.store.is_broken = True
    after = World(store=before.store)
    await after.pass_intervals(3)
    before.store.is_broken = False
    await after.pass_intervals(2)
    await after.alerts.stop()
    assert [alert.state.value for alert in before.store.stored] == ["firing", "resolved"]


async def test_a_metric_that_nobody_measures_raises_no_alert() -> None:
    world = World(hot={"metric": "gpu_temperature_celsius", "comparison": "<", "threshold": 1000})
    await world.pass_intervals(2)
    assert world.states() == []
    await world.alerts.stop()


async def test_evaluation_goes_on_after_a_fault() -> None:
    temperatures = Temperatures()
    world = World(temperatures, hot={"metric": "gpu_temperature_celsius", "threshold": 80})
    temperatures.is_faulty = True
    with capture_logs() as logs:
        await world.pass_intervals(2)
    assert {log["event"] for log in logs} == {"background_fault"}
    temperatures.is_faulty = False
    await world.pass_intervals(2)
    assert world.states() == [("gpu:0", "firing")]
    await world.alerts.stop()

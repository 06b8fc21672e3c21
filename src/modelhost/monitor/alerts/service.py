"""The alerts of a host: evaluated at regular times, logged, stored and sent."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from modelhost.background import cancel_and_wait, log_failures, repeat
from modelhost.config.alerts import AlertRule
from modelhost.errors import DatabaseUnavailable
from modelhost.events import EventBus, Subscription
from modelhost.logs import get_logger
from modelhost.monitor.alerts.source import CountedMetrics, MetricQuery, MetricSource, Probe
from modelhost.monitor.alerts.states import Alert, AlertBoard, AlertState

MOST_WAITING: Final = 1000
"""Alerts that wait for the database; beyond it, the oldest are lost, and logged."""
MOST_TAKEN_UP: Final = 1000
"""Of the last changes of all hosts, in which alerts are looked for that fired when this host ended."""
DELIVERY_SECONDS: Final = 2.0
"""For messages that wait at the end of the host."""

log = get_logger(__name__)


class AlertStore(Protocol):
    """Keeps alerts that fired or were resolved."""

    @property
    def is_open(self) -> bool:
        """Whether it can be used without being opened first."""

    async def add(self, alerts: Sequence[Alert]) -> None:
        """Store ``alerts``; raises DatabaseUnavailable."""

    async def list(self, *, limit: int, before: datetime | None, rule: str | None) -> Sequence[Alert]:
        """Return stored alerts, the newest change first; raises DatabaseUnavailable."""


class Notifier(Protocol):
    """Sends alerts that fired or were resolved."""

    def send(self, alerts: Sequence[Alert]) -> None:
        """Send ``alerts``, without waiting and without raising."""

    async def close(self, seconds: float) -> None:
        """Send what waits, for ``seconds`` at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Where values come from: the host's counters, ``probes`` of gauges by metric, and other ``sources``."""

    probes: Mapping[str, Probe] = field(default_factory=dict)
    refresh: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """By metric: called before each evaluation with a rule of that metric, for probes that return what was read then.
    """
    sources: Sequence[MetricSource] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """Where alerts go."""

    host: str
    """The name there of this host, among those that share its database."""
    store: AlertStore
    notifier: Notifier


class Alerts:
    """Evaluates ``rules`` every ``interval_seconds`` while it is started."""

    def __init__(
        self,
        rules: Mapping[str, AlertRule],
        *,
        measured: Measured,
        destinations: Destinations,
        interval_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules = rules
        self._host = destinations.host
        self._interval_seconds = interval_seconds
        self._store = destinations.store
        self._notifier = destinations.notifier
        self._wanted = rules
        """The rules from the next evaluation on."""
        self._counted = CountedMetrics(_windows_of(rules), measured.probes)
        self._refresh = measured.refresh
        self._sources: tuple[MetricSource, ...] = (self._counted, *measured.sources)
        self._clock = clock
        self._board = AlertBoard(destinations.host)
        self._events: EventBus[Alert] = EventBus()
        self._changed: set[tuple[str, str]] | None = set()
        """What alerts that have changed are about, until those are taken up that an earlier process has left."""
        self._unstored: deque[Alert] = deque()
        self._storing: asyncio.Task[None] | None = None
        self._is_store_broken = False
        self._task: asyncio.Task[None] | None = None

    @property
    def active(self) -> tuple[Alert, ...]:
        """The alerts that are pending or firing."""
        return self._board.active

    def apply_rules(self, rules: Mapping[str, AlertRule]) -> None:
        """Evaluate ``rules`` in the place of the present ones; alerts of rules that are gone are resolved."""
        self._wanted = rules

    async def history(
        self, *, limit: int = 100, before: datetime | None = None, rule: str | None = None
    ) -> Sequence[Alert]:
        """Return the alerts that fired and were resolved, the newest change first; raises DatabaseUnavailable."""
        await self._finish_storing()
        return await self._store.list(limit=limit, before=before, rule=rule)

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[Subscription[Alert]]:
        """Subscribe to alerts that fire or are resolved, as long as the context is entered."""
        subscription = self._events.subscribe(())
        try:
            yield subscription
        finally:
            self._events.unsubscribe(subscription)

    def start(self) -> None:
        """Begin: what was counted before does not count."""
        self._task = asyncio.create_task(self._evaluate_repeatedly(), name="alerts")

    async def stop(self) -> None:
        """End, and store and send what waits, for a few seconds at most. May be called without :meth:`start`."""
        await cancel_and_wait(self._task)
        self._task = None
        await self._finish_storing()
        await self._notifier.close(DELIVERY_SECONDS)
        self._events.close()

    async def _evaluate_repeatedly(self) -> None:
        with log_failures("evaluating alerts"):  # what cannot be measured does not prevent the start of a host
            await self._counted.sample(self._clock())
        await repeat("evaluating alerts", self.evaluate, pause_seconds=self._interval_seconds)

    async def evaluate(self) -> None:
        if self._wanted is not self.rules:
            self.rules = self._wanted
            self._counted.watch(_windows_of(self.rules))
        for metric in self._refresh.keys() & {rule.metric for rule in self.rules.values()}:
            await self._refresh[metric]()
        now = self._clock()
        await self._counted.sample(now)
        await self._take_up()
        changed = self._board.drop_others(self.rules.keys(), now)
        for name, rule in self.rules.items():
            changed += self._board.update(name, rule, await self._values(rule), now)
            await asyncio.sleep(0)  # with many models, each takes a moment
        reported = [alert for alert in changed if alert.state is not AlertState.PENDING]
        if self._changed is not None:
            self._changed.update(alert.about for alert in reported)
        for alert in reported:
            _log(alert)
            self._events.publish(alert)
        if reported:
            self._notifier.send(reported)
        self._store_later(reported)

    async def _take_up(self) -> None:
        """Go on with the alerts that fired when this host ended before, once the database is in use.

        Otherwise nobody would hear that they are resolved.
        """
        if self._changed is None or not self._store.is_open:
            return
        try:
            stored = await self._store.list(limit=MOST_TAKEN_UP, before=None, rule=None)
        except DatabaseUnavailable:  # it is tried again
            return
        last: dict[tuple[str, str], Alert] = {}
        for alert in stored:
            if alert.host == self._host and alert.about not in self._changed:
                last.setdefault(alert.about, alert)
        self._board.take_up(alert for alert in last.values() if alert.state is AlertState.FIRING)
        self._changed = None

    async def _values(self, rule: AlertRule) -> Mapping[str, float]:
        query = MetricQuery(metric=rule.metric, statistic=rule.statistic, window_seconds=rule.window_seconds)
        for source in self._sources:
            if rule.metric in source.metrics:
                return await source.read(query)
        return {}  # not measured on this machine, such as the temperature of GPUs

    def _store_later(self, alerts: Sequence[Alert]) -> None:
        """Store ``alerts`` and those that could not be stored before, without waiting."""
        self._unstored.extend(alerts)
        lost = len(self._unstored) - MOST_WAITING
        for _ in range(lost):
            self._unstored.popleft()
        if lost > 0:
            log.warning("alert_history_lost", alerts=lost)
        if self._unstored and (self._storing is None or self._storing.done()):
            self._storing = asyncio.create_task(self._store_waiting(), name="storing alerts")

    async def _store_waiting(self) -> None:
        with log_failures("storing alerts"):
            while self._unstored:
                group = list(self._unstored)
                try:
                    await self._store.add(group)
                except DatabaseUnavailable as error:
                    if not self._is_store_broken:
                        log.warning("alert_history_waits", alerts=len(group), reason=error.message)
                    self._is_store_broken = True
                    return
                self._is_store_broken = False
                stored = set(map(id, group))
                self._unstored = deque(alert for alert in self._unstored if id(alert) not in stored)

    async def _finish_storing(self) -> None:
        self._store_later(())
        if self._storing is not None:
            await asyncio.wait([self._storing])


def _windows_of(rules: Mapping[str, AlertRule]) -> Mapping[str, float]:
    windows: dict[str, float] = {}
    for rule in rules.values():
        windows[rule.metric] = max(rule.window_seconds, windows.get(rule.metric, 0.0))
    return windows


def _log(alert: Alert) -> None:
    facts = {
        "rule": alert.rule,
        "subject": alert.subject,
        "severity": alert.severity,
        "condition": alert.condition,
        "value": round(alert.value, 6),
    }
    if alert.state is AlertState.RESOLVED:
        log.info("alert_resolved", **facts)
    elif alert.severity == "info":
        log.info("alert_firing", summary=alert.summary, **facts)
    else:
        log.warning("alert_firing", summary=alert.summary, **facts)

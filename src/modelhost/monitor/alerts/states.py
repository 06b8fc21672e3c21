"""Which alerts are pending, firing or resolved: decided from measured values, without a clock and without I/O."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from modelhost.config.alerts import AlertRule, Comparison, Severity


class AlertState(StrEnum):
    PENDING = "pending"
    """The condition holds, but not yet for long enough."""
    FIRING = "firing"
    RESOLVED = "resolved"


HOLDS: Final[Mapping[Comparison, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert: a rule, and the subject for which its condition holds or held. Times are seconds since 1970."""

    rule: str
    host: str
    """The name of the host among those that share a database: its machine and data directory."""
    subject: str
    """The main name of a model, a pool or GPU (``gpu:0``), or empty: the host as a whole."""
    metric: str
    severity: Severity
    condition: str
    """The condition, for people."""
    summary: str
    state: AlertState
    value: float
    """The value of the last evaluation at which the condition held."""
    started_at: float
    """Since when the condition holds."""
    fired_at: float | None = None
    resolved_at: float | None = None

    @property
    def about(self) -> tuple[str, str]:
        return self.rule, self.subject


class AlertBoard:
    """The alerts of ``host`` that are pending or firing."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._alerts: dict[tuple[str, str], Alert] = {}

    @property
    def active(self) -> tuple[Alert, ...]:
        """Those that are pending or firing, the one that began first at the beginning."""
        return tuple(sorted(self._alerts.values(), key=lambda alert: (alert.started_at, alert.about)))

    def update(self, name: str, rule: AlertRule, values: Mapping[str, float], now: float) -> list[Alert]:
        """Take the ``values`` by subject that the rule ``name`` is about; return the alerts whose state changed.

        A subject without a value does not meet the condition. Pending alerts that it ceases to hold for are forgotten.
        A firing alert is resolved as what it was, and begins anew, once the rule has another severity or metric.
        """
        changed = [
            self._resolved(key, now) for key, alert in list(self._alerts.items()) if _is_other(alert, name, rule)
        ]
        holds = HOLDS[rule.comparison]
        met = {
            subject: value
            for subject, value in values.items()
            if holds(value, rule.threshold) and any(fnmatchcase(subject, pattern) for pattern in rule.models)
        }
        changed += [self._resolved(key, now) for key in list(self._alerts) if key[0] == name and key[1] not in met]
        changed += [self._met(name, rule, subject, value, now) for subject, value in met.items()]
        return [alert for alert in changed if alert is not None]

    def take_up(self, alerts: Iterable[Alert]) -> None:
        """Have ``alerts`` fire that did so when this host ended before, also those that are pending again."""
        self._alerts.update({alert.about: alert for alert in alerts})

    def drop_others(self, names: Collection[str], now: float) -> list[Alert]:
        """Forget the alerts of rules that are not among ``names``; return those that are resolved thereby."""
        changed = [self._resolved(key, now) for key in list(self._alerts) if key[0] not in names]
        return [alert for alert in changed if alert is not None]

    def _resolved(self, key: tuple[str, str], now: float) -> Alert | None:
        alert = self._alerts.pop(key)
        if alert.state is AlertState.PENDING:
            return None
        return replace(alert, state=AlertState.RESOLVED, resolved_at=now)

    def _met(self, name: str, rule: AlertRule, subject: str, value: float, now: float) -> Alert | None:
        before, alert = self._alerts.get((name, subject)), self._begun(name, rule, subject, value, now)
        if before is not None:  # the rule may have changed
            alert = replace(alert, state=before.state, started_at=before.started_at, fired_at=before.fired_at)
        if alert.state is AlertState.PENDING and now - alert.started_at >= rule.for_seconds:
            alert = replace(alert, state=AlertState.FIRING, fired_at=now)
        self._alerts[alert.about] = alert
        return alert if before is None or before.state is not alert.state else None

    def _begun(self, name: str, rule: AlertRule, subject: str, value: float, now: float) -> Alert:
        return Alert(
            rule=name,
            host=self._host,
            subject=subject,
            metric=rule.metric,
            severity=rule.severity,
            condition=condition_text(rule),
            summary=rule.summary,
            state=AlertState.PENDING,
            value=value,
            started_at=now,
        )


def _is_other(alert: Alert, name: str, rule: AlertRule) -> bool:
    """Whether ``alert`` is of the rule ``name`` as it was before, and receivers would not recognise it any more."""
    is_same = (alert.severity, alert.metric) == (rule.severity, rule.metric)
    return alert.rule == name and alert.state is AlertState.FIRING and not is_same


def condition_text(rule: AlertRule) -> str:
    """Return the condition of ``rule`` for people, such as ``increase(worker_exits, 600 s) >= 3``."""
    return f"{rule.statistic}({rule.metric}, {rule.window_seconds:g} s) {rule.comparison} {rule.threshold:g}"

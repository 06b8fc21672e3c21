"""Alerts to webhooks, in Alertmanager's format, with retries and a bounded queue for each.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config: receivers of Alertmanager take it as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from modelhost import lazy
from modelhost.background import SECONDS_TO_REPAIR, cancel_and_wait, log_failures
from modelhost.logs import get_logger
from modelhost.monitor.alerts.states import Alert, AlertState
from modelhost.version import __version__

if TYPE_CHECKING:
    import httpx2

MOST_WAITING: Final = 100
"""Messages that wait for one receiver; beyond it, the oldest is dropped."""
MOST_ATTEMPTS: Final = 10
"""To deliver a message: with the pauses below about five minutes."""
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 10.0
TOO_MANY_REQUESTS: Final = 429
SERVER_ERRORS: Final = 500
NOT_ENDED: Final = "0001-01-01T00:00:00Z"
"""Alertmanager's time of an end that is not known."""
RESOURCE_METRICS: Final = frozenset({"memory_used_share", "gpu_temperature_celsius"})
"""Metrics of pools and GPUs, not of models."""

log = get_logger(__name__)


class Webhooks:
    """Delivers alerts to all receivers, each in a task of its own, so that one that fails delays no other."""

    def __init__(
        self, urls: Sequence[SecretStr], *, external_url: str, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        """``external_url`` is the address of this host in messages."""
        self._external_url = external_url
        self._receivers = [_Receiver(url, transport) for url in urls]

    def send(self, alerts: Sequence[Alert]) -> None:
        """Deliver ``alerts``, those of a rule in one message. Never waits and never raises."""
        ordered = sorted(alerts, key=lambda alert: (alert.rule, alert.state))
        for (rule, _state), group in groupby(ordered, key=lambda alert: (alert.rule, alert.state)):
            content = message(rule, list(group), external_url=self._external_url)
            for receiver in self._receivers:
                receiver.put(content)

    async def close(self, seconds: float) -> None:
        """Give what waits ``seconds`` to be delivered; the rest is dropped, and logged."""
        await asyncio.gather(*(receiver.close(seconds) for receiver in self._receivers))


class _Receiver:
    def __init__(self, url: SecretStr, transport: httpx2.AsyncBaseTransport | None) -> None:
        self._url = url
        self._transport = transport
        self._waiting: deque[dict[str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None
        parts = urlsplit(url.get_secret_value())
        self._name = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        """For the log: paths and parameters of webhooks are often secrets."""

    def put(self, content: dict[str, Any]) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            log.warning("alert_message_dropped", receiver=self._name, reason=f"more than {MOST_WAITING} wait for it")
        self._waiting.append(content)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._deliver_all(), name=f"alerts to {self._name}")

    async def close(self, seconds: float) -> None:
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=seconds)
        await cancel_and_wait(self._task)
        if self._waiting:
            log.warning("alert_messages_lost", receiver=self._name, undelivered=len(self._waiting))

    async def _deliver_all(self) -> None:
        """Deliver until nothing waits. A message waits until it is delivered, or given up."""
        client = lazy.httpx2.AsyncClient(
            transport=self._transport, timeout=ANSWER_SECONDS, headers={"User-Agent": f"modelhost/{__version__}"}
        )
        async with client:
            while self._waiting:
                content = self._waiting[0]
                with log_failures("sending alerts") as this:
                    await self._deliver(client, content)
                if this.fault is not None:
                    await asyncio.sleep(SECONDS_TO_REPAIR)
                if self._waiting and self._waiting[0] is content:  # else it was dropped meanwhile
                    self._waiting.popleft()

    async def _deliver(self, client: httpx2.AsyncClient, content: Mapping[str, Any]) -> None:
        """Try until it is delivered, or will not be; log failures once each time they begin, without the address."""
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, MOST_ATTEMPTS + 1):
            trouble, is_final = await self._attempt(client, content)
            if trouble is None:
                if attempt > 1:
                    log.info("alert_delivered_again", receiver=self._name, attempts=attempt)
                return
            if is_final or attempt == MOST_ATTEMPTS:
                log.error("alert_not_delivered", receiver=self._name, reason=trouble, attempts=attempt)
                return
            if attempt == 1:
                log.warning("alert_delivery_fails", receiver=self._name, reason=trouble)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _attempt(self, client: httpx2.AsyncClient, content: Mapping[str, Any]) -> tuple[str | None, bool]:
        """Return what went wrong, if something did, and whether it is useless to try again."""
        try:
            answer = await client.post(self._url.get_secret_value(), json=content)
        except lazy.httpx2.ReadTimeout:
            return f"it has not answered within {ANSWER_SECONDS:g} s", False
        except lazy.httpx2.HTTPError as error:  # its text may hold the address
            return f"it cannot be reached ({type(error).__name__})", False
        if answer.is_success:
            return None, False
        may_pass = answer.status_code >= SERVER_ERRORS or answer.status_code == TOO_MANY_REQUESTS
        return f"it answered {answer.status_code}", not may_pass


def message(rule: str, alerts: Sequence[Alert], *, external_url: str) -> dict[str, Any]:
    """Return the alerts of one rule, all in the same state, as a message of Alertmanager's version 4."""
    listed = [_alert(alert, external_url) for alert in alerts]
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{rule}"}}',
        "truncatedAlerts": 0,
        "status": _status(alerts[0]),
        "receiver": "modelhost",
        "groupLabels": {"alertname": rule},
        "commonLabels": _common([each["labels"] for each in listed]),
        "commonAnnotations": _common([each["annotations"] for each in listed]),
        "externalURL": external_url,
        "alerts": listed,
    }


def _alert(alert: Alert, external_url: str) -> dict[str, Any]:
    labels = {"alertname": alert.rule, "job": "modelhost", "host": alert.host, "severity": alert.severity}
    if alert.subject:
        labels["resource" if alert.metric in RESOURCE_METRICS else "model"] = alert.subject
    return {
        "status": _status(alert),
        "labels": labels,
        "annotations": {"summary": alert.summary, "condition": alert.condition, "value": f"{alert.value:g}"},
        "startsAt": _timestamp(alert.started_at),
        "endsAt": NOT_ENDED if alert.resolved_at is None else _timestamp(alert.resolved_at),
        "generatorURL": f"{external_url}/v1/monitor/alerts" if external_url else "",
        "fingerprint": hashlib.sha256(repr(sorted(labels.items())).encode()).hexdigest()[:16],
    }


def _status(alert: Alert) -> str:
    return "resolved" if alert.state is AlertState.RESOLVED else "firing"


def _common(mappings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, *others = mappings
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")

"""Messages to webhooks: their form, retries, the bounded queue, and what the log says of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from modelhost.monitor.alerts import webhooks
from modelhost.monitor.alerts.states import Alert, AlertState
from modelhost.monitor.alerts.webhooks import Webhooks, message

ADDRESS = "https://user:pass@hooks.example/services/secret-path?token=secret-token"
FIRING = Alert(
    rule="worker-exits",
    host="gpu-1",
    subject="qwen",
    metric="worker_exits",
    severity="critical",
    condition="increase(worker_exits, 600 s) >= 3",
    summary="The model's worker keeps ending.",
    state=AlertState.FIRING,
    value=3,
    started_at=1767268800.0,
    fired_at=1767268800.0,
)
RESOLVED = replace(FIRING, state=AlertState.RESOLVED, resolved_at=1767269400.5)
LONG_SECONDS = 3000.0


class Answers:
    """A receiver that gives these answers in turn, and the last one ever after."""

    def __init__(self, *answers: int | type[httpx2.HTTPError]) -> None:
        self._answers = list(answers)
        self.received: list[Any] = []
        self.transport = httpx2.MockTransport(self._answer)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not isinstance(answer, int):
            raise answer(f"no connection to {request.url}")
        self.received.append(json.loads(request.content))
        return httpx2.Response(answer)


async def delivered(answers: Answers, *groups: Sequence[Alert], seconds: float = LONG_SECONDS) -> list[Any]:
    """Send ``groups`` one after the other, and return the log."""
    hooks = Webhooks([SecretStr(ADDRESS)], external_url="http://gpu-1:8000", transport=answers.transport)
    with capture_logs() as logs:
        for group in groups:
            hooks.send(group)
        await hooks.close(seconds)
    return list(logs)


def events(logs: Sequence[Any]) -> list[str]:
    return [log["event"] for log in logs]


def test_a_message_has_the_form_of_alertmanagers_version_4() -> None:
    labels = {
        "alertname": "worker-exits",
        "job": "modelhost",
        "host": "gpu-1",
        "severity": "critical",
        "model": "qwen",
    }
    annotations = {
        "summary": "The model's worker keeps ending.",
        "condition": "increase(worker_exits, 600 s) >= 3",
        "value": "3",
    }
    sent = message("worker-exits", [FIRING], external_url="http://gpu-1:8000")
    fingerprint = sent["alerts"][0].pop("fingerprint")
    assert sent == {
        "version": "4",
        "groupKey": '{}:{alertname="worker-exits"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "modelhost",
        "groupLabels": {"alertname": "worker-exits"},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://gpu-1:8000",
        "alerts": [
            {
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": "2026-01-01T12:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://gpu-1:8000/v1/monitor/alerts",
            }
        ],
    }
    resolved = message("worker-exits", [RESOLVED], external_url="")
    assert (resolved["status"], resolved["alerts"][0]["endsAt"]) == ("resolved", "2026-01-01T12:10:00.500000Z")
    assert resolved["alerts"][0]["fingerprint"] == fingerprint, "receivers know by it that it is the same alert"


def test_alerts_of_several_models_have_in_common_what_is_the_same() -> None:
    sent = message("worker-exits", [FIRING, replace(FIRING, subject="nano", value=4)], external_url="")
    assert "model" not in sent["commonLabels"]
    assert sent["commonLabels"]["severity"] == "critical"
    assert sent["commonAnnotations"].keys() == {"summary", "condition"}


def test_a_pool_or_gpu_is_not_called_a_model() -> None:
    hot = replace(FIRING, rule="gpu-hot", metric="gpu_temperature_celsius", subject="gpu:0")
    labels = message("gpu-hot", [hot], external_url="")["alerts"][0]["labels"]
    assert labels["resource"] == "gpu:0"
    assert "model" not in labels


@pytest.mark.usefixtures("virtual_time")
async def test_alerts_of_one_rule_are_one_message() -> None:
    answers = Answers(200)
    await delivered(answers, [FIRING, replace(FIRING, rule="other"), replace(FIRING, subject="nano")])
    assert [(each["groupKey"], len(each["alerts"])) for each in answers.received] == [
        ('{}:{alertname="other"}', 1),
        ('{}:{alertname="worker-exits"}', 2),
    ]


@pytest.mark.usefixtures("virtual_time")
async def test_a_message_is_sent_again_until_it_is_accepted_and_the_order_stays() -> None:
    answers = Answers(httpx2.ConnectError, 503, 429, 200)
    logs = await delivered(answers, [FIRING], [RESOLVED])
    assert [each["status"] for each in answers.received] == ["firing", "firing", "firing", "resolved"]
    assert events(logs) == ["alert_delivery_fails", "alert_delivered_again"]


@pytest.mark.usefixtures("virtual_time")
async def test_a_message_that_the_receiver_refuses_is_not_sent_again() -> None:
    answers = Answers(400, 200)
    logs = await delivered(answers, [FIRING], [RESOLVED])
    assert [each["status"] for each in answers.received] == ["firing", "resolved"]
    assert [(log["event"], log["reason"]) for log in logs] == [("alert_not_delivered", "it answered 400")]


@pytest.mark.usefixtures("virtual_time")
async def test_a_message_is_given_up_after_many_attempts() -> None:
    answers = Answers(500)
    logs = await delivered(answers, [FIRING])
    assert len(answers.received) == webhooks.MOST_ATTEMPTS
    assert events(logs) == ["alert_delivery_fails", "alert_not_delivered"]


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("answer", [400, 500, httpx2.ConnectError, httpx2.ReadTimeout])
async def test_the_log_names_the_receiver_but_no_secret_of_its_address(answer: Any) -> None:
    logs = await delivered(Answers(answer), [FIRING])
    assert {log["receiver"] for log in logs} == {"hooks.example"}
    assert not any(secret in str(logs) for secret in ("secret-path", "secret-token", "pass"))


@pytest.mark.usefixtures("virtual_time")
async def test_beyond_the_bound_of_the_queue_the_oldest_messages_are_dropped() -> None:
    answers = Answers(200)
    many = [[replace(FIRING, value=number)] for number in range(webhooks.MOST_WAITING + 2)]
    logs = await delivered(answers, *many)
    values = [each["alerts"][0]["annotations"]["value"] for each in answers.received]
    assert values == [str(number) for number in range(2, webhooks.MOST_WAITING + 2)]
    assert events(logs) == ["alert_message_dropped"] * 2


@pytest.mark.usefixtures("virtual_time")
async def test_what_still_waits_at_the_end_is_lost_and_logged() -> None:
    logs = await delivered(Answers(500), [FIRING], [RESOLVED], seconds=1)
    assert (logs[-1]["event"], logs[-1]["undelivered"]) == ("alert_messages_lost", 2)


@pytest.mark.usefixtures("virtual_time")
async def test_a_receiver_that_fails_does_not_delay_another() -> None:
    received: dict[str, list[float]] = {"bad.example": [], "good.example": []}

    def answer(request: httpx2.Request) -> httpx2.Response:
        received[request.url.host].append(asyncio.get_running_loop().time())
        return httpx2.Response(500 if request.url.host == "bad.example" else 200)

    urls = [SecretStr("http://bad.example/"), SecretStr("http://good.example/")]
    hooks = Webhooks(urls, external_url="", transport=httpx2.MockTransport(answer))
    hooks.send([FIRING])
    hooks.send([RESOLVED])
    await hooks.close(LONG_SECONDS)
    assert len(received["good.example"]) == 2
    assert received["good.example"][-1] < received["bad.example"][1]

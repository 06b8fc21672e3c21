"""Alerts of a real host: a worker that keeps being killed fires one, a webhook receives it, and it is resolved."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.serving import ServedHost

WINDOW_SECONDS = 30
RULE = {"worker-exits": {"window": WINDOW_SECONDS}}
LONG_SECONDS = 4 * WINDOW_SECONDS


class Receiver:
    """A webhook on this machine that is not available at first."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.refused = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not outer.refused:
                    outer.refused += 1
                    self.send_response(503)
                else:
                    outer.received.append(content)
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing on standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/secret-path"

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def kill_worker(host: ServedHost) -> None:
    """Kill the worker, and return when another one answers."""
    (worker,) = host.worker_pids()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: worker not in host.worker_pids() and host.http.get("/ready").status_code == 200)
    host.client().chat.completions.create(model="scripted", messages=[{"role": "user", "content": "hello"}])


def alerts(host: ServedHost, **parameters: Any) -> Any:
    answer = host.http.get("/v1/monitor/alerts", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as started:
        yield started


@pytest.mark.promise("vllm-crush.export.alerts")
def test_three_killed_workers_fire_an_alert_that_a_webhook_receives_and_that_is_resolved(receiver: Receiver) -> None:
    with ServedHost(
        engine="scripted", alias=["scripted"], alerts=RULE, alert_interval=0.2, alert_webhook=[receiver.url]
    ) as host:
        kill_worker(host)
        kill_worker(host)
        assert alerts(host)["active"] == []
        kill_worker(host)

        eventually(lambda: alerts(host)["active"])
        (active,) = alerts(host)["active"]
        assert (active["rule"], active["subject"], active["state"]) == ("worker-exits", "scripted", "firing")
        assert (active["value"], active["severity"]) == (3, "critical")
        eventually(lambda: receiver.received)
        (fired,) = receiver.received
        assert (fired["version"], fired["status"], len(fired["alerts"])) == ("4", "firing", 1)
        labels = fired["alerts"][0]["labels"]
        assert (labels["alertname"], labels["model"], labels["severity"]) == ("worker-exits", "scripted", "critical")

        eventually(lambda: len(receiver.received) == 2, seconds=LONG_SECONDS)
        resolved = receiver.received[1]
        assert resolved["status"] == "resolved"
        assert resolved["alerts"][0]["fingerprint"] == fired["alerts"][0]["fingerprint"]
        found = alerts(host)
        assert found["active"] == []
        assert [alert["state"] for alert in found["history"]] == ["resolved", "firing"]
        assert alerts(host, rule="gpu-hot", limit=5) == {"active": [], "history": [], "history_error": None}

        assert receiver.refused == 1
        assert [entry["receiver"] for entry in host.log_events("alert_delivery_fails")] == [receiver.url.split("/")[2]]
        assert [entry["subject"] for entry in host.log_events("alert_firing")] == ["scripted"]
        assert [entry["subject"] for entry in host.log_events("alert_resolved")] == ["scripted"]
        assert "secret-path" not in host.stderr


def test_percentiles_of_the_requests_of_a_model_fire_an_alert() -> None:
    rule = {"metric": "time_to_first_token_seconds", "statistic": "p95", "threshold": 0, "window": "1m"}
    with ServedHost(engine="scripted", alias=["scripted"], alerts={"answers": rule}, alert_interval=0.2) as host:
        assert alerts(host)["active"] == []
        chunks = host.client().chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        assert list(chunks)
        eventually(lambda: alerts(host)["active"])
        (active,) = alerts(host)["active"]
    assert (active["rule"], active["subject"], active["state"]) == ("answers", "scripted", "firing")
    assert active["condition"] == "p95(time_to_first_token_seconds, 60 s) > 0"
    assert active["value"] > 0

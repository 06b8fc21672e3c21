"""The log of a model: what happened to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from tests.support.eventually import eventually
from tests.support.serving import ServedHost


def logs(host: ServedHost) -> dict[str, Any]:
    found: dict[str, Any] = host.http.get("/v1/models/modelhost-nano/logs").json()
    return found


def test_what_happens_to_a_model_is_in_its_log(start_host: Callable[..., ServedHost]) -> None:
    host = start_host()
    assert [event["state"] for event in logs(host)["events"]][-2:] == ["loading", "ready"]
    host.http.post("/v1/models/unload", json={"model_id": "modelhost-nano"})
    unloaded = logs(host)
    assert unloaded["status"] == "unloaded"
    assert [event["state"] for event in unloaded["events"]][-2:] == ["stopping", "unloaded"]


def test_a_crash_is_in_the_log(start_host: Callable[..., ServedHost]) -> None:
    host = start_host()
    (worker,) = host.worker_pids()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: len(logs(host)["events"]) > 4 and logs(host)["status"] == "loaded", seconds=60)
    assert [event["state"] for event in logs(host)["events"]].count("ready") == 2

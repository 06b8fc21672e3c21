"""Sessions, saved states and the audit log of a host."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.goldens.http_scenarios import BEGUN, CHAT, Act, Request, Scenario, chat, one
from tests.support.serving import ServedHost

SAVE: Final = "POST /v1/state/save"
LOAD: Final = "POST /v1/state/load"
CLEAR: Final = "POST /v1/state/clear"
MESSAGE: Final = {"role": "user", "content": "hello"}
DOCUMENT: Final = {
    "version": 1,
    "sessions": [
        {
            "session_id": "bert",
            "model": "scripted",
            "created_at": "2026-01-01T12:00:00Z",
            "updated_at": "2026-01-01T12:00:00Z",
            "messages": [MESSAGE, {"role": "assistant", "content": "Hello."}],
        }
    ],
}


def damage(hosts: Mapping[str, ServedHost]) -> None:
    """Cut what is saved short, as a disk might."""
    file = Path(hosts["main"].settings["data_dir"]) / "modelhost.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE snapshots SET content = substr(content, 1, length(content) / 2)")


SESSIONS: Final[tuple[Scenario, ...]] = (
    one("no sessions", "GET /v1/sessions"),
    one("first message", CHAT, chat("/echo one", session_id="anna")),
    one("second message, streamed", CHAT, chat("/echo two", stream=True), headers={"X-Session-Id": "anna"}),
    one("two names for the session", CHAT, chat("/echo", session_id="anna"), headers={"X-Session-Id": "bert"}),
    one("sessions", "GET /v1/sessions"),
    one("session", "GET /v1/sessions/anna"),
    one("session that there is not", "GET /v1/sessions/none"),
    one("export", "POST /v1/sessions/export", {"session_id": "anna"}),
    one("import", "POST /v1/sessions/import", DOCUMENT),
    one("import of what is none", "POST /v1/sessions/import", {"sessions": 5}),
    one("delete", "DELETE /v1/sessions/bert"),
    one("delete of what there is not", "DELETE /v1/sessions/bert"),
    one("sessions to a limit that is none", "GET /v1/sessions?limit=many"),
)

STATES: Final[tuple[Scenario, ...]] = (
    one("nothing is saved", "GET /v1/state/sessions"),
    Scenario(
        name="save and load",
        steps=(
            Request(
                line=SAVE,
                body={"session_id": "label", "include_metrics": True},
                keep={"state": r'"state_id":"([^"]+)"'},
            ),
            Request(line=LOAD, body={"state_id": "$state", "wait": True}),
        ),
    ),
    one("saved states", "GET /v1/state/sessions"),
    one("summary", "GET /v1/state/sessions/label/summary"),
    one("summary of what there is not", "GET /v1/state/sessions/none/summary"),
    one("load of what there is not", LOAD, {"state_id": "state-none"}),
    one("save with an unknown parameter", SAVE, {"colour": "red"}),
    Scenario(
        name="a state that is damaged",
        steps=(Act(about="the state is damaged in the database", does=damage), Request(line=LOAD, body={})),
    ),
    one("clear of what is old", CLEAR, {"older_than_hours": 1, "include_models": True}),
    one("clear", CLEAR, {"session_id": "label", "include_models": True}),
)

AUDIT: Final[tuple[Scenario, ...]] = (
    one("entries of an operation", "GET /v1/audit?operation=delete-session"),
    one("entries of an outcome", "GET /v1/audit?outcome=state_damaged"),
    one("no entries", "GET /v1/audit?actor=nobody"),
)

ALERTS: Final[tuple[Scenario, ...]] = (
    one("no alerts", "GET /v1/monitor/alerts"),
    one("no alerts of a rule", "GET /v1/monitor/alerts?rule=worker-exits&limit=1"),
)

METRICS: Final = "GET /v1/monitor/metrics"
GPUS: Final = "GET /v1/monitor/gpus"
MONITOR: Final[tuple[Scenario, ...]] = (
    one("metrics of the last minute", METRICS),
    one("metrics of an hour, with history", f"{METRICS}?duration_seconds=3600&include_history=true"),
    one("some metrics of a model", f"{METRICS}?duration_seconds=3600&metrics=throughput,errors&model=scripted"),
    one("metrics of a model that there is not", f"{METRICS}?model=none"),
    one("metrics that there are not", f"{METRICS}?metrics=beauty"),
    one("metrics of longer than the history", f"{METRICS}?duration_seconds=999999999"),
    one("GPUs", f"{GPUS}?include_temperature=false&include_power=false"),
    one("GPU that there is not", f"{GPUS}?gpu_ids=99"),
    one("memory", "GET /v1/monitor/memory"),
)

BUSY: Final[tuple[Scenario, ...]] = (
    Scenario(
        name="session that another host keeps",
        steps=(
            Request(
                line=CHAT,
                body=chat("/hang 1", session_id="anna", stream=True),
                held_until=BEGUN,
                leaves_after=BEGUN,
            ),
            Request(line=CHAT, body=chat("/echo two", session_id="anna"), host="other"),
        ),
    ),
)

"""The audit log of a real host: who had what done, over HTTP and as the command shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.serving import ServedHost
from tests.support.session_talk import ask, refusal

Start = Callable[..., ServedHost]
SECRET = "sesame-open-the-door"  # noqa: S105
SAID = "what-was-said"


@pytest.fixture
def host(start_host: Start, tmp_path: Path) -> ServedHost:
    keys = [f"anna={SECRET}", "key-without-name"]
    return start_host(engine="scripted", alias=["scripted"], api_keys=keys, data_dir=str(tmp_path / "data"))


def entries(host: ServedHost, **filters: Any) -> list[dict[str, Any]]:
    """The entries, the newest first."""
    found: list[dict[str, Any]] = host.http.get("/v1/audit", params=filters).json()["entries"]
    return found


@pytest.mark.promise("vllm-crush.security.audit")
def test_who_did_what_and_how_it_went_and_nothing_that_was_said(host: ServedHost, tmp_path: Path) -> None:
    anna, nameless = {"Authorization": f"Bearer {SECRET}"}, {"x-api-key": "key-without-name"}
    with httpx2.Client(base_url=host.url, trust_env=False) as http:
        http.post("/v1/models/unload", json={"model_id": "scripted", "force": True}, headers=anna)
        http.post("/v1/models/unload", json={"model_id": "nobody"}, headers=nameless)
        session = {"session_id": "mine", "messages": [{"role": "user", "content": SAID}]}
        http.post("/v1/sessions/import", json={"sessions": [session]}, headers=anna)
        http.post("/v1/state/save", json={"session_id": "label"}, headers=anna)
        http.get("/v1/sessions/mine", headers=anna)
        http.delete("/v1/sessions/mine", headers=anna)
        assert http.get("/v1/models/status", headers={"Authorization": "Bearer wrong"}).status_code == 401
    ask(host, "/echo yes", "chat")
    found = entries(host)
    assert [(entry["operation"], entry["actor"][:4], entry["outcome"]) for entry in found[::-1]] == [
        ("unload-model", "anna", "ok"),
        ("unload-model", "key-", "model_not_found"),
        ("import-sessions", "anna", "ok"),
        ("save-state", "anna", "ok"),
        ("show-session", "anna", "ok"),
        ("delete-session", "anna", "ok"),
    ]
    newest, oldest = found[0], found[-1]
    assert (newest["arguments"], newest["face"]) == ({"session_id": "mine"}, "http")
    assert (oldest["arguments"], oldest["model"]) == ({"model_id": "scripted", "force": True}, "scripted")
    assert all(entry["duration_ms"] > 0 and entry["request_id"].startswith("req-") for entry in found)
    at = datetime.fromisoformat(oldest["at"])
    assert timedelta(0) <= datetime.now(UTC) - at < timedelta(minutes=5)
    assert [entry["operation"] for entry in entries(host, outcome="model_not_found")] == ["unload-model"]
    assert [entry["operation"] for entry in entries(host, operation="get-audit", limit=1)] == ["get-audit"]
    host.process.terminate()
    host.wait()
    kept = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir() if file.is_file())
    log = host.stderr
    for hidden in (SECRET, "key-without-name"):
        assert hidden.encode() not in kept
        assert hidden not in log
    assert SAID not in log


def test_the_log_outlives_the_host(host: ServedHost, start_host: Start) -> None:
    host.http.get("/v1/models/status")
    host.close()
    again = start_host(**host.settings)
    assert [entry["operation"] for entry in entries(again)] == ["models-status"]


def test_the_command_shows_it(host: ServedHost) -> None:
    host.http.get("/v1/models/status")
    command = [sys.executable, "-m", "modelhost", "audit", "--url", host.url, "--api-key", SECRET]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert shown[1].split()[3:6] == ["http", "models-status", "ok"]
    as_json = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert [entry["operation"] for entry in json.loads(as_json)["entries"]] == ["get-audit", "models-status"]


def test_a_broken_database_does_not_stop_operations(start_host: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file", "utf-8")
    host = start_host(engine="scripted", data_dir=str(tmp_path / "data"))
    for _ in range(5):
        assert host.http.get("/v1/models/status").status_code == 200
    assert refusal(host.http.get("/v1/audit")) == (503, "database_unavailable")

"""The deep probe of real hosts."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.registries import state_of
from tests.support.serving import ServedHost


def test_a_healthy_host_says_so_of_everything_that_it_needs() -> None:
    with ServedHost(engine="scripted", alias=["scripted"]) as host:
        answer = host.http.get("/health", params={"deep": "true"})
        found = answer.json()
        assert (answer.status_code, found["status"], found["reasons"]) == (200, "ok", [])
        assert found["models"] == {"scripted": {"status": "ok", "reason": None, "state": "ready"}}
        assert found["mcp_servers"] == {}
        assert found["database"]["place"].endswith("modelhost.db")
        host.http.post("/v1/responses", json={"input": "Hello", "session_id": "s"})
        host.http.post("/v1/conversations", json={})
        stored = host.http.get("/health?deep=true").json()["database"]
        assert (stored["sessions"], stored["responses"], stored["conversations"]) == (1, 1, 1)
        assert stored["responses_bytes"] > 0
        assert found["disk"]["free_bytes"] > 0
        assert host.http.get("/health").json() == {"status": "ok"}


def test_what_is_wrong_is_named_with_its_reason(tmp_path: Path) -> None:
    servers = tmp_path / "mcp.json"
    servers.write_text(json.dumps({"mcpServers": {"gone": {"command": "/nonexistent/server"}}}))
    database = tmp_path / "modelhost.db"
    database.write_bytes(b"this is no database, and it is longer than the head of one" * 20)
    with ServedHost(engine="scripted", alias=["scripted"], mcp_config=str(servers), data_dir=str(tmp_path)) as host:
        eventually(lambda: host.http.get("/health?deep=true").json()["mcp_servers"]["gone"]["state"] == "failed")
        answer = host.http.get("/health?deep=true")
        found = answer.json()
    assert (answer.status_code, found["status"]) == (503, "failed")
    assert found["mcp_servers"]["gone"]["status"] == "failed"
    assert "/nonexistent/server" in found["mcp_servers"]["gone"]["reason"]
    assert "it is no SQLite database, or damaged" in found["database"]["reason"]
    assert len(found["reasons"]) == 2


def test_a_remote_model_is_checked_now_and_shows_its_endpoints_when_all_are_down() -> None:
    with (
        ServedHost(engine="scripted", alias=["far"]) as far,
        ServedHost(model=far.url, alias=["near"], engine_options={"health_seconds": 3600}) as host,
    ):
        assert host.http.get("/health?deep=true").json()["models"]["near"]["status"] == "ok"
        os.kill(far.pid, signal.SIGKILL)
        far.process.wait()
        found = host.http.get("/health?deep=true")
        eventually(lambda: state_of(host, "near") == "failed")
        later = host.http.get("/health?deep=true")
    for answer in (found, later):
        near = answer.json()["models"]["near"]
        assert (answer.status_code, near["status"]) == (503, "failed")
        ((name, check),) = near["endpoints"].items()
        assert (name, check["status"]) == (far.url.removeprefix("http://"), "failed")
        assert check["reason"] in near["reason"]


def test_a_remote_model_shows_each_endpoint() -> None:
    with (
        ServedHost(engine="scripted", alias=["far"]) as far,
        ServedHost(engine="scripted", alias=["far"]) as further,
        ServedHost(model=f"{far.url},{further.url}", alias=["near"], engine_options={"health_seconds": 0.2}) as host,
    ):
        names = [url.removeprefix("http://") for url in (far.url, further.url)]
        endpoints = host.http.get("/health?deep=true").json()["models"]["near"]["endpoints"]
        assert {name: check["status"] for name, check in endpoints.items()} == dict.fromkeys(names, "ok")
        os.kill(further.pid, signal.SIGKILL)
        eventually(lambda: host.http.get("/health?deep=true").json()["status"] == "degraded")
        near = host.http.get("/health?deep=true").json()["models"]["near"]
        assert near["status"] == "degraded"
        assert near["endpoints"][names[0]]["status"] == "ok"
        assert near["endpoints"][names[1]]["status"] == "failed"
        assert names[1] in near["reason"]

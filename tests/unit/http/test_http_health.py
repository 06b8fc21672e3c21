"""The deep probe: what counts as healthy, with which reason, and who may see it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest

from modelhost.config.settings import Settings
from modelhost.host import Host
from modelhost.http import health
from modelhost.http.app import build_app
from modelhost.http.health import Check, Health, disk_check, model_check
from modelhost.models.residency.status import State
from tests.unit.operations.fake_host import FakeHost, model_status, ready

OK, DEGRADED, FAILED = Check(), Check(status="degraded", reason="slow"), Check(status="failed", reason="gone")


def of(**parts: Any) -> Health:
    return Health(**{"models": {"nano": OK}, "mcp_servers": {}, "database": OK, "disk": OK, **parts})


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({}, "ok"),
        ({"models": {"nano": OK, "qwen": FAILED}}, "degraded"),
        ({"models": {"nano": FAILED, "qwen": FAILED}}, "failed"),
        ({"models": {"nano": DEGRADED}}, "degraded"),
        ({"models": {}}, "failed"),
        ({"mcp_servers": {"files": FAILED}}, "degraded"),
        ({"database": FAILED}, "failed"),
        ({"disk": DEGRADED}, "degraded"),
        ({"disk": FAILED}, "failed"),
    ],
)
def test_the_host_is_as_healthy_as_what_its_answers_need(parts: dict[str, Any], status: str) -> None:
    assert of(**parts).status == status


def test_the_answer_has_every_reason_in_one_list() -> None:
    answer = of(models={"nano": OK, "qwen": FAILED}, mcp_servers={"files": FAILED}, disk=DEGRADED).json()
    assert answer["reasons"] == ["Model qwen: gone", "MCP server files: gone", "Disk: slow"]
    assert answer["models"]["qwen"] == {"status": "failed", "reason": "gone"}


@pytest.mark.parametrize(
    ("status", "is_reachable", "expected"),
    [
        (ready("a"), True, ("ok", None)),
        (ready("a"), False, ("failed", "its worker does not accept connections")),
        (model_status("a"), True, ("ok", None)),
        (model_status("a", obstacle="It needs 9 GB."), True, ("failed", "It needs 9 GB.")),
        (model_status("a", State.LOADING), True, ("ok", None)),
        (model_status("a", State.FAILED, last_error="no such file"), True, ("failed", "no such file")),
    ],
)
def test_a_model_is_healthy_if_it_answers_or_could_be_loaded(
    status: Any, is_reachable: bool, expected: tuple[str, str | None]
) -> None:
    found = model_check(status, is_reachable=is_reachable, endpoints={})
    assert (found.status, found.reason) == expected
    assert found.details == {"state": status.state.value}


def test_a_remote_model_is_degraded_by_one_bad_endpoint_and_failed_by_all() -> None:
    bad = {"two:8000": Check(status="failed", reason="it answered 500")}
    some = model_check(ready("a"), is_reachable=True, endpoints={"one:8000": OK, **bad})
    assert (some.status, some.reason) == ("degraded", "two:8000: it answered 500")
    assert some.details["endpoints"] == {
        "one:8000": {"status": "ok", "reason": None},
        "two:8000": {"status": "failed", "reason": "it answered 500"},
    }
    assert model_check(ready("a"), is_reachable=True, endpoints=bad).status == "failed"


@pytest.mark.parametrize(("free", "status"), [(10**12, "ok"), (10**9 - 1, "degraded"), (10**8 - 1, "failed")])
def test_a_disk_is_judged_by_its_free_space(
    free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: SimpleNamespace(free=free, total=2 * 10**12))
    found = disk_check(tmp_path / "not" / "there" / "yet")
    assert (found.status, found.details["path"], found.details["free_bytes"]) == (status, str(tmp_path), free)
    assert (found.reason is None) == (status == "ok")


@pytest.mark.parametrize(
    ("query", "status"), [("", 200), ("?deep=false", 200), ("?other=1", 200), ("?deep=true", 401), ("?x=1&deep=1", 401)]
)
async def test_only_the_plain_probe_is_open_without_a_key(query: str, status: int) -> None:
    host = FakeHost(ready("a"), **Settings(api_keys=("secret",)).model_dump(include={"api_keys"}))
    transport = httpx2.ASGITransport(build_app(cast("Host", host)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get(f"/health{query}")).status_code == status

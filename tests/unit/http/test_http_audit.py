"""What the audit log is told of operations over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
import pytest

from modelhost.host import Host
from modelhost.http.app import build_app
from modelhost.state.records import AuditEntry
from tests.unit.operations.fake_host import FakeHost, ready


@asynccontextmanager
async def connected(host: FakeHost, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(build_app(cast("Host", host)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client


async def audited(host: FakeHost, method: str, path: str, body: Any = None, **headers: str) -> AuditEntry:
    """The one entry that a request leaves."""
    async with connected(host, **headers) as client:
        response = await client.request(method, path, json=body)
    (entry,) = host.audited
    assert entry.request_id == response.headers["x-request-id"]
    assert entry.face == "http"
    assert entry.duration_ms >= 0
    return entry


async def test_who_did_what_and_how_it_went() -> None:
    host = FakeHost(ready("a", aliases=("b",)), api_keys=["anna=sesame"])
    entry = await audited(
        host, "POST", "/v1/models/unload", {"model_id": "b", "force": True}, authorization="Bearer sesame"
    )
    assert (entry.actor, entry.operation, entry.outcome, entry.model) == ("anna", "unload-model", "ok", "a")
    assert entry.arguments == {"model_id": "b", "force": True}
    assert entry.at.tzinfo is not None


async def test_without_keys_nobody_has_a_name() -> None:
    entry = await audited(FakeHost(), "GET", "/v1/models/first/info")
    assert (entry.actor, entry.operation, entry.arguments) == ("anonymous", "get-model-info", {"model_id": "first"})


async def test_a_key_without_a_name_is_told_by_its_hash() -> None:
    entry = await audited(FakeHost(api_keys=["sesame"]), "GET", "/v1/models/status", authorization="Bearer sesame")
    assert entry.actor.startswith("key-")
    assert "sesame" not in str(entry)


@pytest.mark.parametrize(
    ("path", "body", "outcome"),
    [
        ("unload", {"model_id": "nobody"}, "model_not_found"),
        ("unload", {"model_id": "first", "secret": "sesame"}, "unsupported_parameter"),
        ("unload", {"model_id": ["sesame"], "force": False}, "invalid_request"),
        ("config", ["sesame"], "invalid_request"),
    ],
    ids=str,
)
async def test_what_was_refused_is_noted_too(path: str, body: Any, outcome: str) -> None:
    entry = await audited(FakeHost(), "POST", f"/v1/models/{path}", body)
    assert entry.outcome == outcome
    assert "secret" not in entry.arguments


async def test_who_is_not_let_in_leaves_no_entry() -> None:
    host = FakeHost(api_keys=["sesame"])
    async with connected(host) as client:
        assert (await client.get("/v1/models/status")).status_code == 401
    assert not host.audited


async def test_an_actor_cannot_be_made_up() -> None:
    entry = await audited(FakeHost(), "GET", "/v1/models/status", **{"modelhost.actor": "root", "x-request-id": "mine"})
    assert (entry.actor, entry.request_id) == ("anonymous", "mine")

"""Whoever has an operation done, by whatever face: he is let in, and it is measured and noted."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx2
import pytest
from mcp import Client

from modelhost.client.local import LocalClient
from modelhost.errors import ModelBusy, ModelNotFound, Unauthorized
from modelhost.exchange.caller import NOBODY, Caller, Face
from modelhost.http.app import build_app
from modelhost.mcp_servers.server import build_server
from modelhost.meters import REGISTRY
from modelhost.operations.model_loading import UNLOAD, UnloadParameters
from modelhost.operations.models import INFO, OneModel
from modelhost.operations.perform import OperationCall, perform, performing
from tests.unit.operations.fake_host import FakeHost, ready

ANNA = Caller(key_name="anna", face="http", request_id="req-1")


def measured(face: Face, outcome: str, operation: str = "unload-model") -> tuple[float, float]:
    """How many were counted with the outcome, and how many measured with any."""
    labels = {"operation": operation, "face": face}
    count = REGISTRY.get_sample_value("modelhost_operations_total", {**labels, "outcome": outcome})
    return count or 0, REGISTRY.get_sample_value("modelhost_operation_seconds_count", labels) or 0


async def test_an_operation_is_done_measured_and_noted_with_who_had_it_done() -> None:
    host = FakeHost(ready("a", aliases=("b",)))
    before = measured("http", "ok")
    await perform(host, UNLOAD, UnloadParameters(model_id="b", force=True), ANNA)
    (entry,) = host.audited
    assert (entry.actor, entry.face, entry.request_id, entry.operation) == ("anna", "http", "req-1", "unload-model")
    assert (entry.arguments, entry.outcome, entry.model) == ({"model_id": "b", "force": True}, "ok", "a")
    assert measured("http", "ok") == (before[0] + 1, before[1] + 1)


async def test_an_error_is_raised_and_noted_with_its_code() -> None:
    host = FakeHost(ready("a", in_flight=1))
    with pytest.raises(ModelBusy):
        await perform(host, UNLOAD, UnloadParameters(model_id="a"), ANNA)
    with pytest.raises(ModelNotFound):
        await perform(host, INFO, OneModel(model_id="nobody"), ANNA)
    busy, missing = host.audited
    assert (busy.outcome, busy.model) == ("model_busy", "a")
    assert (missing.outcome, missing.model, missing.arguments) == ("model_not_found", None, {"model_id": "nobody"})


@pytest.mark.parametrize(
    ("error", "face", "outcome"),
    [
        (RuntimeError("broken"), "http", "internal_error"),
        (asyncio.CancelledError(), "http", "shutting_down"),
        (asyncio.CancelledError(), "mcp-http", "cancelled"),
    ],
    ids=["fault", "server-ends", "cancelled"],
)
def test_what_is_no_error_of_an_operation_has_an_outcome_too(error: BaseException, face: Face, outcome: str) -> None:
    host = FakeHost()
    performance = OperationCall(operation="unload-model", caller=Caller(face=face), kept=dict)
    with pytest.raises(type(error)), performing(host, performance):
        raise error
    assert [entry.outcome for entry in host.audited] == [outcome]


@pytest.mark.parametrize(("face", "actor"), [("http", "anonymous"), ("mcp-http", "anonymous"), ("mcp-stdio", "local")])
async def test_who_has_no_key_is_named_after_the_face(face: Face, actor: str) -> None:
    host = FakeHost(ready("a"))
    await perform(host, INFO, OneModel(model_id="a"), Caller(face=face))
    assert [entry.actor for entry in host.audited] == [actor]


async def test_a_program_with_a_host_of_its_own_is_measured_and_leaves_no_entry() -> None:
    host, before = FakeHost(ready("a")), measured("host", "ok", INFO.name)
    await perform(host, INFO, OneModel(model_id="a"), NOBODY)
    assert host.audited == []
    assert measured("host", "ok", INFO.name)[0] == before[0] + 1


def refusing(host: FakeHost) -> list[tuple[str, str]]:
    """Let nobody in; the list tells who wanted what."""
    asked = []

    def refuse(caller: Caller, operation: str) -> None:
        asked.append((caller.face, operation))
        raise Unauthorized("Not with that key.")

    host.authorise = refuse
    return asked


async def test_who_is_not_let_in_gets_nothing_done_by_any_face() -> None:
    host = FakeHost(ready("a"))
    asked = refusing(host)
    with pytest.raises(Unauthorized):
        await perform(host, UNLOAD, UnloadParameters(model_id="a"), NOBODY)
    transport = httpx2.ASGITransport(build_app(cast("Any", host)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        refused = await client.post("/v1/models/unload", json={"model_id": "a"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    async with Client(build_server("all", LocalClient(cast("Any", host)))) as client:
        result = await client.call_tool("unload-model", {"model_id": "a"})
    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["error"]["code"] == "INVALID_API_KEY"
    assert asked == [(face, "unload-model") for face in ("host", "http", "mcp-stdio")]
    assert [entry.outcome for entry in host.audited] == ["invalid_api_key"] * 2
    assert host.asked == []

"""The administrative operations over HTTP, against a host in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import httpx2
import openai
import pytest

from modelhost.client.connections import EventReader
from modelhost.errors import DownloadFailed
from modelhost.host import Host
from modelhost.http.app import build_app
from modelhost.meters import REGISTRY
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.residency.status import PulledModel, State
from modelhost.operations.table import MODEL_OPERATIONS
from tests.unit.operations.fake_host import FakeHost, model_status, ready

Connect = Callable[[FakeHost], AbstractAsyncContextManager[httpx2.AsyncClient]]


@asynccontextmanager
async def connected(host: FakeHost, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(build_app(cast("Host", host)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client


async def post(host: FakeHost, what: str, body: Any) -> httpx2.Response:
    async with connected(host) as client:
        return await client.post(f"/v1/models/{what}", json=body)


def told_in(answer: httpx2.Response) -> list[tuple[str, Any]]:
    return [(event.name, json.loads(event.data)) for event in EventReader().read(answer.content)]


def code_of(response: httpx2.Response) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


@pytest.mark.promise("candle-vllm.endpoints.models")
async def test_the_list_is_openais_and_holds_models_that_are_not_loaded() -> None:
    host = FakeHost(ready("org/warm"), model_status("cold"))
    async with connected(host) as client:
        listed = (await client.get("/v1/models")).json()
        assert (listed["object"], [card["id"] for card in listed["data"]]) == ("list", ["org/warm", "cold"])
        assert [card["state"] for card in listed["data"]] == ["ready", "unloaded"]
        assert (await client.get("/v1/models/org/warm")).json() == listed["data"][0]
        known = openai.AsyncOpenAI(base_url="http://localhost/v1", api_key="none", http_client=cast("Any", client))
        assert [model.id async for model in known.models.list()] == ["org/warm", "cold"]
        assert (await known.models.retrieve("cold")).created == 0


async def test_one_model_is_found_by_its_alias_and_a_missing_one_is_not() -> None:
    async with connected(FakeHost(ready("a", aliases=("x/y",)))) as client:
        assert (await client.get("/v1/models/x/y")).json()["id"] == "a"
        assert code_of(await client.get("/v1/models/nobody")) == (404, "model_not_found", "model")


@pytest.mark.promise("candle-vllm.endpoints.status")
async def test_the_status_has_the_fields_that_clients_of_candle_vllm_read() -> None:
    async with connected(FakeHost(ready("a"), model_status("b", queue_length=4))) as client:
        status = (await client.get("/v1/models/status")).json()
    assert {key: value for key, value in status.items() if key not in {"models", "memory"}} == {
        "active_model": "a",
        "status": "ready",
        "last_error": None,
        "in_flight_requests": 0,
        "switch_requested_at": None,
        "queue_lengths": {"a": 0, "b": 4},
        "max_models": None,
        "registry": None,
        "registry_error": None,
    }
    assert [model["name"] for model in status["models"]] == ["a", "b"]


async def test_info_is_found_for_a_name_with_slashes() -> None:
    async with connected(FakeHost(ready("org/name"))) as client:
        assert (await client.get("/v1/models/org/name/info")).json()["model_id"] == "org/name"


@pytest.mark.promise("candle-vllm.management")
async def test_load_select_configure_and_unload() -> None:
    host = FakeHost(ready("a"), model_status("b"))
    loading = (await post(host, "load", {"model_id": "b"})).json()
    assert (loading["success"], loading["status"], loading["memory_required_mb"]) == (True, "loading", 121)
    assert (await post(host, "load", {"model_id": "b", "wait": True})).json()["status"] == "loaded"
    selected = (await post(host, "select", {"model": "b"})).json()
    assert selected == {"status": "switching", "model": "b", "queue_length": 2}
    configured = (await post(host, "config", {"model_id": "b", "config": {"max_tokens": 7}})).json()
    assert configured == {"success": True, "model_id": "b", "updated_config": {"max_tokens": 7}}
    unloaded = (await post(host, "unload", {"model_id": "a"})).json()
    assert (unloaded["status"], unloaded["memory_freed_mb"]) == ("unloaded", 150)
    assert (await post(host, "pull", {"model": "org/name", "revision": "v1"})).json()["path"] == "/models/a.gguf"
    assert host.asked[-1] == ("pull", "org/name", "v1")


@pytest.mark.parametrize(
    ("what", "body", "expected"),
    [
        ("load", {}, (400, "invalid_request", "model_id")),
        ("load", [], (400, "invalid_request", None)),
        ("load", {"model_id": "nobody"}, (404, "model_not_found", "model_id")),
        ("load", {"model_id": "a", "max_model_len": 0}, (400, "invalid_request", "max_model_len")),
        ("load", {"model_id": "a", "colour": "red"}, (400, "unsupported_parameter", "colour")),
        ("unload", {"model_id": "a"}, (409, "model_busy", None)),
        ("select", {"model_id": "nobody"}, (404, "model_not_found", "model_id")),
        ("config", {"model_id": "a", "config": {"temperature": -1}}, (400, "invalid_request", "config.temperature")),
        ("config", {"model_id": "a", "config": {"max_tokens": "7"}}, (400, "invalid_request", "config.max_tokens")),
        ("config", {"model_id": "a", "config": {"n": 2}}, (400, "unsupported_parameter", "config.n")),
        ("pull", {"model": "org/nothing"}, (502, "download_failed", None)),
    ],
    ids=str,
)
async def test_a_refusal_is_an_openai_error_object(what: str, body: Any, expected: tuple[int, str, str | None]) -> None:
    host = FakeHost(ready("a", in_flight=1))
    response = await post(host, what, body)
    assert code_of(response) == expected
    assert response.headers["x-request-id"]


async def test_a_body_that_is_no_json_or_too_large_is_refused() -> None:
    async with connected(FakeHost(max_body_mb=0.001)) as client:
        assert code_of(await client.post("/v1/models/load", content=b"{"))[:2] == (400, "invalid_json")
        assert code_of(await client.post("/v1/models/load", content=b" " * 1001))[:2] == (413, "request_too_large")


async def test_a_method_that_a_path_does_not_take_is_named() -> None:
    async with connected(FakeHost()) as client:
        refused = await client.post("/v1/models/status")
    assert code_of(refused)[:2] == (405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, HEAD"


async def test_the_key_is_asked_for_here_too() -> None:
    host = FakeHost(api_keys=["sesame"])
    async with connected(host) as client:
        for method, path in (("GET", "status"), ("GET", "events"), ("POST", "load"), ("POST", "pull")):
            assert (await client.request(method, f"/v1/models/{path}")).status_code == 401
    async with connected(host, Authorization="Bearer sesame") as client:
        assert (await client.get("/v1/models/status")).status_code == 200


async def test_operations_are_counted_under_the_main_names_of_models_only() -> None:
    def counted(model: str, status: str) -> float:
        labels = {"model": model, "operation": "select-model", "status": status}
        return REGISTRY.get_sample_value("modelhost_requests_total", labels) or 0

    host = FakeHost(ready("counted", aliases=("alias",)))
    before = counted("counted", "200"), counted("", "404")
    await post(host, "select", {"model_id": "alias"})
    await post(host, "select", {"model_id": "invented"})
    assert (counted("counted", "200"), counted("", "404")) == (before[0] + 1, before[1] + 1)
    assert counted("invented", "404") == 0


async def test_a_model_that_fails_is_in_no_good_condition() -> None:
    async with connected(FakeHost(model_status("a", State.FAILED, last_error="no memory"))) as client:
        status = (await client.get("/v1/models/status")).json()
    assert (status["status"], status["last_error"]) == ("error", "no memory")


async def test_every_operation_is_described_with_an_example_that_fits() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = pytest.importorskip("openapi_spec_validator")
    async with connected(FakeHost()) as client:
        document = (await client.get("/openapi.json")).json()
    validator.validate(document)
    for operation in MODEL_OPERATIONS:
        if operation.route is None:
            continue
        described = document["paths"][operation.route.path][operation.route.method.lower()]
        contents = [described["responses"]["200"]["content"], described.get("requestBody", {}).get("content")]
        for content in filter(None, contents):
            shown = content["application/json"]
            schema = {**shown["schema"], "components": document["components"]}
            jsonschema.validate(shown["example"], schema)
    assert "text/event-stream" in document["paths"]["/v1/models/events"]["get"]["responses"]["200"]["content"]


async def test_who_accepts_events_is_told_how_far_a_download_is() -> None:
    host = FakeHost(ready("a"))
    async with connected(host, Accept="application/json, text/event-stream") as client:
        answer = await client.post("/v1/models/pull", json={"model": "org/name"})
        whole = await client.post("/v1/models/load", json={"model_id": "org/name"})
        refused = await client.post("/v1/models/pull", json={"model": "org/nothing"})
        plain = await client.post("/v1/models/unload", json={"model_id": "a"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    events = told_in(answer)
    assert events == [
        *(("progress", {"fraction": share, "message": "downloading a.gguf (1 of 2)"}) for share in (0, 0.5, 1)),
        ("result", {"success": True, "model": "org/name", "model_id": "org/name", "path": "/models/a.gguf"}),
    ]
    assert told_in(whole)[-1][0] == "result"
    assert code_of(refused) == (502, "download_failed", None)  # before anything was told
    assert plain.headers["content-type"] == "application/json"


async def test_a_download_that_fails_on_its_way_ends_the_events_with_the_error() -> None:
    class Broken(FakeHost):
        async def pull(self, reference: str, *, revision: str | None, on_progress: DownloadProgress) -> PulledModel:
            await super().pull(reference, revision=revision, on_progress=on_progress)
            await asyncio.sleep(0.05)  # until what was told is sent
            raise DownloadFailed("The disk is full.")

    async with connected(Broken(), Accept="text/event-stream") as client:
        answer = await client.post("/v1/models/pull", json={"model": "org/name"})
    name, error = told_in(answer)[-1]
    assert (name, error["error"]["code"]) == ("", "download_failed")

"""The list of models for clients of Anthropic's API, in pages."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from modelhost.host import Host
from modelhost.http.anthropic.models import anthropic_model_routes
from modelhost.http.edge import REQUEST_ID
from tests.support.asgi import Answered, ask
from tests.unit.operations.fake_host import FakeHost, model_status, ready

NAMES = ["a", "b", "c", "d", "org/e"]
VERSION = {"anthropic-version": "2023-06-01"}


def app_of(query: str = "") -> Any:
    """Return an application with the routes of both APIs and a fixed query."""

    async def openai(_: Request) -> PlainTextResponse:
        return PlainTextResponse("OpenAI's")

    host = FakeHost(ready("a", aliases=("first",)), *map(model_status, NAMES[1:]))
    routes = [*anthropic_model_routes(cast("Host", host)), Route("/v1/models", openai)]
    app = Starlette(routes=routes)

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "query_string": query.encode(), REQUEST_ID: "req-1"}, receive, send)

    return asked


async def answer(query: str = "", path: str = "/v1/models") -> Answered:
    return await ask(app_of(query), path=path, headers=VERSION)


async def page(query: str = "") -> tuple[list[str], bool]:
    """Return the ids of a page, and whether there are more."""
    answered = await answer(query)
    assert answered.status == 200, answered.body
    found = orjson.loads(answered.body)
    ids = [model["id"] for model in found["data"]]
    assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, found["has_more"]


async def refused(query: str = "", path: str = "/v1/models") -> tuple[int, dict[str, Any]]:
    answered = await answer(query, path)
    found = orjson.loads(answered.body)
    assert found["type"] == "error"
    return answered.status, found["error"]


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ("", NAMES, False),
        ("limit=2", ["a", "b"], True),
        ("limit=5", NAMES, False),
        ("limit=1000", NAMES, False),
        ("limit=2&after_id=b", ["c", "d"], True),
        ("limit=2&after_id=c", ["d", "org/e"], False),
        ("after_id=org/e", [], False),
        ("after_id=org%2Fe", [], False),
        ("limit=2&before_id=d", ["b", "c"], True),
        ("limit=2&before_id=c", ["a", "b"], False),
        ("before_id=a", [], False),
        ("limit=1&limit=3", ["a", "b", "c"], True),
        ("anything=else", NAMES, False),
    ],
)
async def test_pages(query: str, ids: list[str], has_more: bool) -> None:
    assert await page(query) == (ids, has_more)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "two", "1.5", "%C2%B2", "9" * 5000], ids=lambda text: text[:6])
async def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    status, error = await refused(f"limit={limit}")
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", "limit")


@pytest.mark.parametrize("name", ["after_id", "before_id"])
async def test_a_page_after_a_model_that_there_is_not_is_refused(name: str) -> None:
    status, error = await refused(f"{name}=wasp")
    assert (status, error["param"]) == (400, name)


@pytest.mark.parametrize(("name", "model_id"), [("a", "a"), ("first", "a"), ("org/e", "org/e")])
async def test_one_model_by_its_name_or_an_alias(name: str, model_id: str) -> None:
    found = orjson.loads((await answer(path=f"/v1/models/{name}")).body)
    assert (found["type"], found["id"], found["display_name"]) == ("model", model_id, model_id)


async def test_a_model_says_since_when_it_is_there_and_how_much_it_reads() -> None:
    found = orjson.loads((await answer(path="/v1/models/a")).body)
    assert (found["created_at"], found["max_input_tokens"]) == ("2026-01-01T00:00:00Z", 2048)
    found = orjson.loads((await answer(path="/v1/models/b")).body)
    assert found["created_at"] == "1970-01-01T00:00:00Z"


async def test_a_model_that_there_is_not_is_not_found() -> None:
    status, error = await refused(path="/v1/models/wasp")
    assert (status, error["type"], error["code"]) == (404, "not_found_error", "model_not_found")


async def test_every_answer_names_its_request() -> None:
    for path in ("/v1/models", "/v1/models/a", "/v1/models/wasp"):
        assert (await answer(path=path)).headers["request-id"] == "req-1"


async def test_clients_without_the_header_get_the_list_of_openai() -> None:
    assert (await ask(app_of(), path="/v1/models")).body == b"OpenAI's"

"""What every request passes first: names, origins, keys, and what browsers want to know."""

from __future__ import annotations

import json

import pytest

from modelhost.http.edge import Edge
from modelhost.http.origins import Origins
from tests.support.asgi import ask, greeting

pytestmark = pytest.mark.usefixtures("virtual_time")

PAGE = "http://localhost:3000"
KEY = {"Authorization": "Bearer sesame"}
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


def edge(*allowed: str, keys: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> Edge:
    return Edge(greeting, api_keys=keys, origins=Origins(allowed, hosts=hosts))


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/mcp", "/health", "/docs"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_name_of_somebody_else_is_refused_everywhere_without_an_origin(method: str, path: str) -> None:
    answer = await ask(edge(), method, path, headers={"Host": "evil.example:8000"})
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (403, "foreign_origin")


async def test_page_under_its_own_name_that_points_here_is_refused() -> None:
    headers = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}
    assert (await ask(edge(), headers=headers)).status == 403
    assert (await ask(edge(hosts=("evil.example",)), headers=headers)).status == 200


async def test_who_knows_a_key_may_use_any_name() -> None:
    answer = await ask(edge(keys=("sesame",)), headers={"Host": "llm.example", "Origin": "https://a.example", **KEY})
    assert answer.status == 200


@pytest.mark.parametrize("keys", [(), ("sesame",)])
async def test_browser_may_ask_whether_a_page_that_is_allowed_may_send_a_request(keys: tuple[str, ...]) -> None:
    answer = await ask(edge(PAGE, keys=keys), "OPTIONS", "/v1/chat/completions", headers=PREFLIGHT)
    assert answer.status == 204
    assert answer.body == b""
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-private-network" not in answer.headers


async def test_page_of_the_internet_may_ask_for_a_private_network() -> None:
    headers = {**PREFLIGHT, "Access-Control-Request-Private-Network": "true"}
    answer = await ask(edge(PAGE), "OPTIONS", headers=headers)
    assert answer.headers["access-control-allow-private-network"] == "true"


async def test_options_that_are_no_question_of_a_browser_go_to_the_application() -> None:
    assert (await ask(edge(PAGE), "OPTIONS", headers={"Origin": PAGE})).body == b"hello"
    assert (await ask(edge(PAGE), "OPTIONS")).body == b"hello"
    assert (await ask(edge(keys=("sesame",)), "OPTIONS", headers=PREFLIGHT)).body == b"hello"


@pytest.mark.parametrize("keys", [(), ("sesame",)])
async def test_answer_to_a_page_that_is_allowed_says_so(keys: tuple[str, ...]) -> None:
    answer = await ask(edge(PAGE, keys=keys), headers={"Origin": PAGE, **KEY})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-expose-headers"] == "*"
    assert answer.headers["vary"] == "origin"


async def test_page_that_is_allowed_can_read_a_refusal() -> None:
    answer = await ask(edge(PAGE, keys=("sesame",)), headers={"Origin": PAGE})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, PAGE)


async def test_page_that_is_not_allowed_is_told_nothing() -> None:
    answer = await ask(edge(PAGE, keys=("sesame",)), headers={"Origin": "https://other.example", **KEY})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "origin"  # a cache must not give it to the page that is


async def test_all_pages_may_be_allowed() -> None:
    answer = await ask(edge("*"), headers={"Origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers


async def test_host_that_allows_no_page_says_nothing_about_them() -> None:
    assert set((await ask(edge())).headers) == {"content-length", "x-request-id"}

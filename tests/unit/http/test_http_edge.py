"""What every request passes first: names, origins, keys, and what browsers want to know."""

from __future__ import annotations

import gzip
import json

import pytest
from starlette.types import Message, Receive, Scope, Send

from modelhost.config.settings import Settings
from modelhost.http.edge import Edge
from modelhost.http.exchange import Exchange
from tests.support.asgi import ask, greeting

pytestmark = pytest.mark.usefixtures("virtual_time")

LIMIT_BYTES = 1_000_000
PAGE = "http://localhost:3000"
KEY = {"Authorization": "Bearer sesame"}
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


def settings(*allowed: str, keys: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> Settings:
    return Settings.model_validate({"api_keys": keys, "allow_origin": allowed, "allowed_host": hosts})


def edge(*allowed: str, keys: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> Edge:
    return Edge(greeting, settings=settings(*allowed, keys=keys, hosts=hosts))


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


async def answer_with_the_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the JSON of the body, as the endpoints read it."""
    exchange = Exchange(scope, receive, send)

    async def respond() -> None:
        await exchange.answer_json(await exchange.json(LIMIT_BYTES))

    await exchange.settle(respond())


def reading() -> Edge:
    return Edge(answer_with_the_body, settings=Settings())


def in_parts(data: bytes, part_bytes: int) -> list[bytes]:
    return [data[start : start + part_bytes] for start in range(0, len(data), part_bytes)]


@pytest.mark.parametrize("part_bytes", [1, 7, 100_000])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP "])
async def test_body_may_be_gzip(encoding: str, part_bytes: int) -> None:
    body = gzip.compress(b'{"content": "' + b"a" * 1000 + b'"}', mtime=0)
    headers = {"Content-Encoding": encoding, "Content-Length": str(len(body))}
    answer = await ask(reading(), "POST", headers=headers, body=in_parts(body, part_bytes))
    assert (answer.status, json.loads(answer.body)) == (200, {"content": "a" * 1000})


@pytest.mark.parametrize("size", [65_536 - 2, 65_536 * 3 - 2, 300_000])
async def test_gzip_that_stands_for_much_is_decoded_whole(size: int) -> None:
    text = "a" * size
    answer = await ask(
        reading(), "POST", headers={"Content-Encoding": "gzip"}, body=gzip.compress(json.dumps(text).encode())
    )
    assert json.loads(answer.body) == text


async def test_gzip_may_have_several_members() -> None:
    body = gzip.compress(b'{"content"', mtime=0) + gzip.compress(b': "hello"}', mtime=0)
    for part_bytes in (1, 1000):
        answer = await ask(reading(), "POST", headers={"Content-Encoding": "gzip"}, body=in_parts(body, part_bytes))
        assert json.loads(answer.body) == {"content": "hello"}


async def test_limit_of_the_body_counts_what_gzip_stands_for() -> None:
    body = gzip.compress(b" " * (100 * LIMIT_BYTES) + b"1")
    assert len(body) < LIMIT_BYTES
    received = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        await answer_with_the_body(scope, counted, send)

    answer = await ask(Edge(app, settings=Settings()), "POST", headers={"Content-Encoding": "gzip"}, body=body)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (413, "request_too_large")
    assert received < 2 * LIMIT_BYTES


@pytest.mark.parametrize("body", [b"{}", gzip.compress(b"{}", mtime=0)[:-3], gzip.compress(b"{}", mtime=0) + b"more"])
async def test_what_is_no_gzip_is_refused(body: bytes) -> None:
    answer = await ask(reading(), "POST", headers={"Content-Encoding": "gzip"}, body=body)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
async def test_encoding_that_is_not_read_here_is_refused(encoding: str) -> None:
    answer = await ask(reading(), "POST", headers={"Content-Encoding": encoding}, body=b"{}")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (415, "unsupported_encoding")
    assert answer.headers["accept-encoding"] == "gzip"


async def test_body_that_is_not_encoded_may_say_so() -> None:
    answer = await ask(reading(), "POST", headers={"Content-Encoding": "identity"}, body=b"{}")
    assert (answer.status, answer.body) == (200, b"{}")


async def test_json_may_begin_with_a_byte_order_mark() -> None:
    answer = await ask(reading(), "POST", body=[b"\xef", b"\xbb\xbf{}"])
    assert (answer.status, answer.body) == (200, b"{}")


async def stream(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer GET with what has no length."""
    assert _scope["method"] == "GET"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(3):
        await send({"type": "http.response.body", "body": b"more", "more_body": True})


async def test_head_is_answered_wherever_get_is_and_ends_after_the_head() -> None:
    edge = Edge(stream, direct={("GET", "/health"): greeting}, settings=Settings())
    for path in ("/health", "/v1/models/events"):
        answer = await ask(edge, "HEAD", path)
        assert (answer.status, answer.body) == (200, b"")
        assert [message["type"] for message in answer.messages] == ["http.response.start", "http.response.body"]
        assert not answer.messages[-1].get("more_body", False)
        assert "x-request-id" in answer.headers


async def test_who_is_let_in_can_be_changed_while_the_host_serves() -> None:
    changing = edge(keys=("sesame",))
    assert (await ask(changing, headers=KEY)).status == 200
    changing.admit(settings(PAGE, keys=("other",)))
    assert (await ask(changing, headers=KEY)).status == 401
    answer = await ask(changing, headers={"Authorization": "Bearer other", "Origin": PAGE})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    changing.admit(settings())
    assert (await ask(changing)).status == 200

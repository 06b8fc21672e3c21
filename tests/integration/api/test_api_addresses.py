"""Images and documents that requests give as addresses, over HTTP, and what engines get of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from tests.support.media_files import IMAGE_TOKENS, png, png_url, write_vision_encoder
from tests.support.serving import ServedHost

Json = dict[str, Any]
ANTHROPIC = {"anthropic-version": "2023-06-01"}
NANO_WIDTH = 192
TALE = "Once upon a time there was a cat."
FILES = {"/cat.png": ("image/png", png()), "/tale.txt": ("text/plain", TALE.encode())}


class Handler(BaseHTTPRequestHandler):
    """Answers with :data:`FILES`."""

    def do_GET(self) -> None:
        kind, content = FILES[self.path]
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Write nothing to standard error."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_address[1]
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def seeing(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """Nano that sees, on a host that fetches from one port of this machine."""
    encoder = write_vision_encoder(tmp_path_factory.mktemp("eyes") / "mmproj-nano.gguf", model_width=NANO_WIDTH)
    with ServedHost(mmproj=str(encoder), fetch_urls=True, fetch_hosts=[f"127.0.0.1:{port}"]) as started:
        yield started


def chat(host: ServedHost, url: str, **fields: Any) -> httpx2.Response:
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 2, **fields}
    return host.http.post("/v1/chat/completions", json=body)


def message(host: ServedHost, block: Json, path: str = "/v1/messages", **fields: Any) -> httpx2.Response:
    content = [{"type": "text", "text": "Look"}, block]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 2, **fields}
    return host.http.post(path, json=body, headers=ANTHROPIC)


def block(kind: str, url: str) -> Json:
    return {"type": kind, "source": {"type": "url", "url": url}}


def tokens(answer: httpx2.Response) -> int:
    assert answer.status_code == 200, answer.text
    usage = answer.json().get("usage") or answer.json()
    cached = usage.get("cache_read_input_tokens", 0)
    return int(usage.get("prompt_tokens") or usage["input_tokens"] + cached)


def test_an_image_at_an_address_is_in_the_prompt_as_one_in_the_request(seeing: ServedHost, port: int) -> None:
    at = f"http://127.0.0.1:{port}/cat.png"
    assert tokens(chat(seeing, at)) == tokens(chat(seeing, png_url())) > IMAGE_TOKENS
    assert tokens(message(seeing, block("image", at))) > IMAGE_TOKENS


def test_a_document_at_an_address_is_in_the_prompt_as_its_text(seeing: ServedHost, port: int) -> None:
    linked = block("document", f"http://127.0.0.1:{port}/tale.txt")
    inline = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": TALE}}
    assert tokens(message(seeing, linked)) == tokens(message(seeing, inline))
    count = "/v1/messages/count_tokens"
    assert tokens(message(seeing, linked, count)) == tokens(message(seeing, inline, count))


def test_a_session_keeps_the_image_and_not_its_address(seeing: ServedHost, port: int) -> None:
    assert chat(seeing, f"http://127.0.0.1:{port}/cat.png", session_id="cats").status_code == 200
    stored = seeing.http.get("/v1/sessions/cats").text
    assert png_url() in stored
    assert f":{port}" not in stored


@pytest.mark.parametrize("stream", [False, True])
def test_an_address_that_is_not_public_is_refused_before_the_answer(seeing: ServedHost, stream: bool) -> None:
    answer = chat(seeing, f"{seeing.url}/v1/models", stream=stream)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "fetch_refused", "messages[0].content[1]")
    assert "public addresses" in error["message"]


def test_a_host_that_fetches_nothing_gives_no_engine_an_address(scripted_host: ServedHost, port: int) -> None:
    at = f"http://127.0.0.1:{port}/cat.png"
    answer = chat(scripted_host, at)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "fetch_refused")
    assert "the setting fetch_urls" in answer.json()["error"]["message"]
    for kind in ("image", "document"):
        answer = message(scripted_host, block(kind, at))
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert "the setting fetch_urls" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "kind", "field"),
    [
        ("/v1/responses", "input_image", "image_url"),
        ("/v1/responses", "input_file", "file_url"),
        ("/v1/responses/input_tokens", "input_file", "file_url"),  # an image is estimated, wherever it is
    ],
)
def test_a_response_names_the_part_as_it_was_sent(
    seeing: ServedHost, scripted_host: ServedHost, path: str, kind: str, field: str
) -> None:
    part = {"type": kind, field: f"{seeing.url}/v1/models"}
    body = {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Look"}, part]}]}
    for host in (seeing, scripted_host):
        answer = host.http.post(path, json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "fetch_refused"), host
        assert error["param"] == f"input[0].content[1].{field}"
        assert error["message"].startswith(f"input[0].content[1].{field}: ")

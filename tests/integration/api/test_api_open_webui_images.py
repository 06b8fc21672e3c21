"""Images as Open WebUI asks for them (backend/open_webui/routers/images.py, engine "openai")."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

import httpx2
import pytest

from tests.support.serving import ServedHost

WEB_UI: Final = {"Authorization": "Bearer sk-none", "X-OpenWebUI-User-Name": "Anna", "X-OpenWebUI-User-Role": "user"}
GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
PNG: Final = b"\x89PNG\r\n\x1a\n"
PROMPT: Final = "/echo one two"
BOUNDARY: Final = "5f1c2c4e0f2d4b6a8c1e3a5b7d9f0f2d"


def shown(answer: httpx2.Response) -> list[bytes]:
    """The images as the program reads them: a URL if there is one, else base64."""
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(image["b64_json"]) for image in answer.json()["data"] if not image.get("url")]


def form(*parts: tuple[str, bytes, str]) -> bytes:
    """The form as aiohttp writes it: each part with its media type, files with names of their own."""
    written = []
    for name, content, media_type in parts:
        is_file = media_type.startswith("image/")
        file = '; filename="0b9d.png"' if is_file else ""
        head = f'Content-Type: {media_type}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        written.append(f"--{BOUNDARY}\r\n{head}".encode() + content + b"\r\n")
    return b"".join([*written, f"--{BOUNDARY}--\r\n".encode()])


def edit(host: ServedHost, *files: tuple[str, bytes, str], path: str = EDITS, **fields: str) -> httpx2.Response:
    texts = [(name, value.encode(), "text/plain; charset=utf-8") for name, value in fields.items()]
    headers = {**WEB_UI, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return host.http.post(path, content=form(*texts, *files), headers=headers)


@pytest.mark.parametrize("more", [{}, {"size": "512x512"}, {"size": "auto", "quality": "high"}])
def test_images_are_made_with_what_its_settings_add(more: dict[str, Any], scripted_host: ServedHost) -> None:
    body = {"model": "scripted", "prompt": PROMPT, "n": 2, "response_format": "b64_json", **more}
    for path in (GENERATIONS, f"{GENERATIONS}?api-version=2025-04-01-preview"):
        assert shown(scripted_host.http.post(path, json=body, headers=WEB_UI)) == [PNG + b"one two", PNG + b"one two 1"]


def test_images_that_are_urls_are_fetched_with_the_same_headers(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", alias=["dall-e-2"], api_keys=["sk-none"])
    # Models whose names match a pattern get no response_format; the administrator's parameters may add one.
    body = {"model": "dall-e-2", "prompt": PROMPT, "n": 1, "response_format": "url"}
    url = host.http.post(GENERATIONS, json=body, headers=WEB_UI).json()["data"][0]["url"]
    fetched = httpx2.get(url, headers=WEB_UI, trust_env=False)
    assert (fetched.status_code, fetched.headers["content-type"], fetched.content) == (
        200,
        "image/png",
        PNG + b"one two",
    )


def test_one_image_is_edited_as_text_or_as_a_list(scripted_host: ServedHost) -> None:
    fields = {"model": "scripted", "prompt": PROMPT, "n": "1", "size": "512x512", "response_format": "b64_json"}
    for name in ("image", "image[]"):
        answer = edit(scripted_host, (name, PNG, "image/png"), path=f"{EDITS}?api-version=1", **fields)
        assert shown(answer) == [PNG + b"one two"]
    answer = edit(scripted_host, ("image[]", PNG, "image/png"), ("image[]", PNG, "image/png"), **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")
    answer = edit(scripted_host, ("image", PNG, "image/png"), background="transparent", **fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_parameter")

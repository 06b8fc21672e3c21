"""Images and documents at addresses: fetched by the host, if its setting permits it, before an engine gets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelhost.chat.addresses import MOST, Addresses, has_addresses
from modelhost.config.settings import Settings
from modelhost.errors import FetchFailed, FetchRefused, InvalidRequest, ModelhostError, UnsupportedOperation
from modelhost.exchange.messages import LinkedText, Message, Part, TextPart, part_of
from modelhost.exchange.requests import ChatRequest
from modelhost.models.residency.hosted import HostedModel
from tests.support.media_files import png, png_url
from tests.support.web import Web, response, web_at


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with web_at() as served:
        served.answers["/cat"] = response(png(), content_type="image/png")
        served.answers["/text"] = response("Grüße".encode("latin-1"), content_type="text/plain; charset=latin-1")
        yield served


def image(url: str, **fields: Any) -> Part:
    return part_of({"type": "image_url", "image_url": {"url": url, **fields}})


async def fetched(web: Web, *parts: Part, sees: bool | None = True, **settings: Any) -> list[Part]:
    given = {"fetch_urls": True, "fetch_hosts": (f"127.0.0.1:{web.port}",), **settings}
    addresses = Addresses(Settings.model_validate(given))
    request = ChatRequest(messages=(Message(role="system", content="Hi"), Message(role="user", content=parts)))
    model = cast("HostedModel", SimpleNamespace(name="m", sees_images=sees, why_blind=None))
    found = await addresses.with_contents(request, model)
    assert found.messages[0] is request.messages[0]
    assert isinstance(found.messages[1].content, tuple)
    return list(found.messages[1].content)


async def refused(web: Web, *parts: Part, **settings: Any) -> ModelhostError:
    with pytest.raises(ModelhostError) as caught:
        await fetched(web, *parts, **settings)
    return caught.value


async def test_an_image_at_an_address_is_as_one_in_the_request(web: Web) -> None:
    words = TextPart("Look:")
    assert await fetched(web, words, image(web.url("/cat"), detail="low")) == [words, image(png_url(), detail="low")]


async def test_a_document_at_an_address_is_its_text(web: Web) -> None:
    assert await fetched(web, LinkedText(web.url("/text")), sees=False) == [TextPart("Grüße")]


async def test_what_is_needed_twice_is_fetched_once(web: Web) -> None:
    cat = image(web.url("/cat"))
    assert await fetched(web, cat, cat) == [image(png_url())] * 2
    assert web.paths == ["/cat"]


async def test_all_are_fetched_at_the_same_time(web: Web) -> None:
    together = asyncio.Barrier(2)

    async def when_both_are_there(writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(5):
            await together.wait()
        writer.write(response(png()))

    web.answers |= {"/1": when_both_are_there, "/2": when_both_are_there}
    assert await fetched(web, image(web.url("/1")), image(web.url("/2"))) == [image(png_url())] * 2


async def test_without_the_setting_nothing_is_fetched_and_the_refusal_names_it(web: Web) -> None:
    error = await refused(web, TextPart("Look:"), image(web.url("/cat")), fetch_urls=False)
    assert isinstance(error, FetchRefused)
    assert error.param == "messages[1].content[1]"
    assert "the setting fetch_urls" in error.message
    assert web.heads == []


async def test_an_address_that_is_not_public_is_refused_with_its_place(web: Web) -> None:
    error = await refused(web, image(web.url("/cat")), fetch_hosts=())
    assert isinstance(error, FetchRefused)
    assert error.message.startswith("messages[1].content[0]: the host connects to public addresses only")
    assert web.heads == []


async def test_nothing_is_fetched_for_a_model_that_does_not_see(web: Web) -> None:
    error = await refused(web, image(web.url("/cat")), sees=False)
    assert isinstance(error, UnsupportedOperation)
    assert web.heads == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response(b"<svg/>", content_type="image/svg+xml"), "is none of PNG"),
        (response(b"<html>", content_type="text/html"), "is text/html, which cannot be used here"),
        (response(status="403 Forbidden"), "HTTP 403"),
        (response(png() + bytes(2000), content_type="image/png"), "too large"),
    ],
)
async def test_what_is_no_image_is_refused_with_its_place(web: Web, answer: bytes, words: str) -> None:
    web.answers["/no"] = answer
    error = await refused(web, image(web.url("/cat")), image(web.url("/no")), max_body_mb=0.002)
    assert isinstance(error, FetchFailed)
    assert error.param == "messages[1].content[1]"
    assert words in error.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response(b"%PDF", content_type="application/pdf"), "is application/pdf, which cannot be used here"),
        (response(b"\xff", content_type="text/plain"), "is not text in the encoding"),
        (response(b"a", content_type="text/plain; charset=klingon"), "is not text in the encoding"),
    ],
)
async def test_what_is_no_text_is_refused(web: Web, answer: bytes, words: str) -> None:
    web.answers["/no"] = answer
    assert words in (await refused(web, LinkedText(web.url("/no")))).message


async def test_the_number_of_addresses_is_limited(web: Web) -> None:
    error = await refused(web, *(image(web.url(f"/{number}")) for number in range(MOST + 1)))
    assert isinstance(error, InvalidRequest)
    assert web.heads == []


def test_only_addresses_for_http_are_fetched() -> None:
    def has(*parts: Part) -> bool:
        return has_addresses([Message(role="user", content="Hi"), Message(role="user", content=parts)])

    assert has(image("HTTPS://example.org/"))
    assert has(LinkedText("file:///etc/passwd"))
    assert not has(image("file:///etc/passwd"), image(png_url()), TextPart("http://example.org/"))

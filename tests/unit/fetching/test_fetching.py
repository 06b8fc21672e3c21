"""Fetching from real servers: where connections go, what is refused, and the limits of what arrives."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import subprocess
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from modelhost.errors import FetchFailed, FetchRefused
from modelhost.fetching.fetcher import ByteBudget, Fetched, Fetcher, FetchLimits
from modelhost.fetching.guard import Guard, GuardedTransport
from tests.support.web import (
    PRIVATE,
    PUBLIC,
    Web,
    guard_of,
    is_taken_for_public,
    known,
    redirect,
    resolving,
    response,
    web_at,
)

HIDDEN = b"metadata"
NOT_PUBLIC = "to public addresses only"


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with web_at() as served:
        yield served


async def fetch(
    url: str,
    guard: Guard | None = None,
    *,
    size: int = 1000,
    accepts: Callable[[str], bool] = lambda _: True,
    limits: FetchLimits | None = None,
) -> Fetched:
    return await Fetcher(guard or guard_of(), limits).fetch(url, budget=ByteBudget(size), accepts=accepts)


async def test_what_is_at_an_address_comes_with_its_type(web: Web) -> None:
    web.answers["/a?b=c"] = response(b"cat", content_type="Image/PNG; charset=latin-1")
    fetched = await fetch(web.url("/a?b=c"))
    assert (fetched.content, fetched.media_type, fetched.charset) == (b"cat", "image/png", "latin-1")


async def test_a_name_is_resolved_once_and_stays_the_host_of_the_request(web: Web) -> None:
    web.answers["/"] = response(b"cat")
    assert (await fetch(web.url("/", "cats.example"), guard_of({"cats.example": [PUBLIC]}))).content == b"cat"
    assert f"Host: cats.example:{web.port}\r\n" in web.heads[0]
    assert "accept-encoding: identity" in web.heads[0].lower()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for cats.example that nobody has signed but itself, and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=cats.example"),
            *("-addext", "subjectAltName=DNS:cats.example", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


async def test_a_certificate_has_to_be_for_the_name_of_the_address(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    guard = guard_of({"cats.example": [PUBLIC], "dogs.example": [PUBLIC]})
    async with web_at(tls=context) as web:
        web.answers["/"] = response(b"cat")
        assert (await fetch(web.url("/", "cats.example", "https"), guard)).content == b"cat"
        for other in ("dogs.example", PUBLIC):
            with pytest.raises(FetchFailed, match="certificate is not trusted"):
                await fetch(web.url("/", other, "https"), guard)
        assert len(web.heads) == 1


async def test_an_address_that_does_not_answer_is_followed_by_the_next(web: Web) -> None:
    web.answers["/"] = response(b"cat")
    guard = Guard(resolve=resolving([PRIVATE, PUBLIC]), is_permitted=lambda _: True)
    assert (await fetch(web.url("/", "cats.example"), guard)).content == b"cat"


# Where no connection is made to.


async def test_a_name_server_that_changes_its_mind_wins_nothing(web: Web) -> None:
    async with web_at(PRIVATE, web.port) as inner:
        guard = Guard(resolve=resolving([PUBLIC], [PRIVATE]), is_permitted=is_taken_for_public)
        web.answers["/"] = response(b"cat")
        inner.answers["/"] = response(HIDDEN)
        assert (await fetch(web.url("/", "rebinding.example"), guard)).content == b"cat"
        with pytest.raises(FetchRefused, match=NOT_PUBLIC):
            await fetch(web.url("/", "rebinding.example"), guard)
        assert inner.heads == []


async def test_one_hidden_address_among_public_ones_is_enough_to_refuse(web: Web) -> None:
    with pytest.raises(FetchRefused, match=NOT_PUBLIC):
        await fetch(web.url("/", "mixed.example"), guard_of({"mixed.example": [PUBLIC, PRIVATE]}))
    assert web.heads == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "localhost.", "LOCALHOST", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
        *("169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "[fe80::1]", "127.0.0.1.", "①②⑦.0.0.1"),
    ],
)
async def test_this_machine_and_its_network_are_refused_in_every_spelling(web: Web, host: str) -> None:
    with pytest.raises(FetchRefused):
        await fetch(web.url("/", host), Guard())
    assert web.heads == []


async def test_a_refusal_does_not_tell_whether_anything_is_there(web: Web) -> None:
    names = {"known.internal": [PRIVATE]}
    said = []
    for host, port in [("known.internal", web.port), (PRIVATE, web.port), (PRIVATE, 1), ("unknown.internal", 80)]:
        with pytest.raises(FetchRefused) as caught:
            await fetch(f"http://{host}:{port or 80}/" if port != 1 else f"http://{host}/", guard_of(names))
        said.append(caught.value.message)
    assert len(set(said)) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "http://"),
        ("ftp://example.org/a", "http://"),
        ("gopher://example.org/a", "http://"),
        ("http:///a", "name a host"),
        ("example.org/cat.png", "http://"),
        ("http://me:secret@example.org/", "user name"),
        ("http://example.org@127.0.0.1/", "user name"),
        ("http://example.org:22/", "port 22"),
        ("https://example.org:25/", "port 25"),
        ("http://example.org:99999/", "no port 99999"),
        ("http://example.org:0/", "no port 0"),
        ("http://a\x00b/", "not a URL"),
    ],
)
async def test_what_is_no_address_for_http_is_refused(url: str, words: str) -> None:
    with pytest.raises(FetchRefused, match=words):
        await fetch(url, Guard())


async def test_a_host_of_the_settings_is_permitted_by_its_name_and_port(web: Web) -> None:
    web.answers["/"] = response(b"cat")
    names = {"files.internal": [PUBLIC]}

    def guard(*permitted: str) -> Guard:
        return Guard(permitted, resolve=known(names))

    for permitted in ("files.internal", "Files.Internal", f"files.internal:{web.port}"):
        assert (await fetch(web.url("/", "files.internal"), guard(permitted))).content == b"cat"
    for other in ("internal", "127.0.0.1", "files.internal:1"):
        with pytest.raises(FetchRefused, match=NOT_PUBLIC):
            await fetch(web.url("/", "files.internal"), guard(other))


async def test_proxies_of_the_environment_are_not_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.answers["/"] = response(b"cat")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await fetch(web.url("/"))).content == b"cat"


# Redirects.


async def test_redirects_are_followed(web: Web) -> None:
    web.answers |= {"/a": redirect("/b"), "/b": redirect(web.url("/c"), "308 Permanent Redirect"), "/c": response(b"x")}
    assert (await fetch(web.url("/a"))).content == b"x"


@pytest.mark.parametrize("host", [PRIVATE, "[::1]", "inner.example"])
async def test_a_redirect_to_an_address_that_is_not_public_is_refused(web: Web, host: str) -> None:
    async with web_at(PRIVATE, web.port) as inner:
        inner.answers["/"] = response(HIDDEN)
        web.answers["/"] = redirect(web.url("/", host))
        with pytest.raises(FetchRefused, match=NOT_PUBLIC):
            await fetch(web.url("/"), guard_of({"inner.example": [PRIVATE]}))
        assert inner.heads == []


@pytest.mark.parametrize("to", ["file:///etc/passwd", "http://user@127.0.0.1/", "http://127.0.0.1:22/"])
async def test_a_redirect_is_held_against_the_same_rules_as_an_address(web: Web, to: str) -> None:
    web.answers["/"] = redirect(to)
    with pytest.raises((FetchRefused, FetchFailed)):
        await fetch(web.url("/"))
    assert web.paths == ["/"]


async def test_redirects_that_do_not_end_are_given_up(web: Web) -> None:
    web.answers["/"] = redirect("/")
    with pytest.raises(FetchFailed, match="redirected more than 5 times"):
        await fetch(web.url("/"))
    assert len(web.heads) == 6


# Limits.


async def test_a_declared_size_over_the_limit_is_not_read(web: Web) -> None:
    web.answers["/"] = response(b"", content_length="1001")
    with pytest.raises(FetchFailed, match="too large"):
        await fetch(web.url("/"))


async def test_a_body_without_end_is_cut_off(web: Web) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(1000))
                await writer.drain()

    web.answers["/"] = endless
    with pytest.raises(FetchFailed, match="too large"):
        await fetch(web.url("/"), size=100_000)


@pytest.mark.parametrize(("coding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_small_body_that_unpacks_to_a_large_one_is_cut_off(
    web: Web, coding: str, packed: Callable[[bytes], bytes]
) -> None:
    bomb = packed(bytes(50_000_000))
    assert len(bomb) < 100_000
    web.answers["/"] = response(bomb, content_encoding=coding)
    with pytest.raises(FetchFailed, match="too large"):
        await fetch(web.url("/"), size=2_000_000)


async def test_a_budget_is_shared_by_the_fetches_of_a_request(web: Web) -> None:
    web.answers["/"] = response(bytes(600))
    budget, fetcher = ByteBudget(1000), Fetcher(guard_of())
    await fetcher.fetch(web.url("/"), budget=budget, accepts=lambda _: True)
    with pytest.raises(FetchFailed, match="too large"):
        await fetcher.fetch(web.url("/"), budget=budget, accepts=lambda _: True)


async def test_a_body_that_drips_is_given_up(web: Web) -> None:
    is_over = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx")
        await writer.drain()
        await is_over.wait()

    web.answers["/"] = drip
    with pytest.raises(FetchFailed, match=r"did not arrive within 0\.2 s"):
        await fetch(web.url("/"), limits=FetchLimits(seconds=0.2))
    is_over.set()


async def test_a_name_server_that_does_not_answer_is_given_up() -> None:
    async def never(_name: str, _port: int) -> Iterable[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(FetchFailed, match="did not arrive"):
        await fetch("http://slow.example/", Guard(resolve=never), limits=FetchLimits(seconds=0.05))


# What is there.


async def test_a_type_that_is_not_wanted_is_refused_unread(web: Web) -> None:
    web.answers["/"] = response(b"<html>", content_type="text/html")
    with pytest.raises(FetchFailed, match="is text/html, which cannot be used"):
        await fetch(web.url("/"), accepts=lambda kind: kind.startswith("image/"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response(status="404 Not Found"), "HTTP 404"),
        (response(status="304 Not Modified"), "HTTP 304"),
        (response(status="206 Partial Content"), "HTTP 206"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "RemoteProtocolError"),
        (response(b"no gzip", content_encoding="gzip"), "DecodingError"),
        (response(b"half", content_length="100"), "RemoteProtocolError"),
    ],
)
async def test_a_server_that_does_not_deliver_is_named_as_the_cause(web: Web, answer: bytes, words: str) -> None:
    web.answers["/"] = answer
    with pytest.raises(FetchFailed, match=words):
        await fetch(web.url("/"))


async def test_a_server_that_is_not_there_is_named_as_the_cause(web: Web) -> None:
    port = web.port
    async with web_at() as other:
        port = other.port
    with pytest.raises(FetchFailed, match="cannot be reached"):
        await fetch(f"http://{PUBLIC}:{port}/")


# The transport with a limit, as MCP servers get it.


async def body_through(web: Web, guard: Guard, max_bytes: int) -> bytes:
    async with httpx2.AsyncClient(transport=GuardedTransport(guard, max_bytes=max_bytes)) as client:
        await client.get(web.url("/small"))
        return (await client.get(web.url("/"))).content


async def test_all_answers_together_stay_within_the_limit(web: Web) -> None:
    web.answers |= {"/small": response(bytes(600)), "/": response(bytes(600))}
    assert len(await body_through(web, guard_of(), 1200)) == 600
    with pytest.raises(httpx2.ReadError, match="more than is accepted"):
        await body_through(web, guard_of(), 1199)


async def test_with_a_limit_a_compressed_answer_is_not_read(web: Web) -> None:
    web.answers |= {"/small": response(b"a"), "/": response(gzip.compress(bytes(1000)), content_encoding="gzip")}
    with pytest.raises(httpx2.ReadError, match="compresses"):
        await body_through(web, guard_of(), 1000)

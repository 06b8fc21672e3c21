"""Servers at an address where the environment names proxies and certificates, and servers that want a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelhost.config import network
from modelhost.tools.entry import HttpTransport, ServerEntry
from modelhost.tools.status import ServerState
from tests.support.mcp_peers import free_port, hub_of, remote, sdk_http
from tests.support.proxies import answering, listening, socks_to

ELSEWHERE = "http://mcp.example/mcp"


@pytest.fixture(scope="module")
def http_url() -> Iterator[str]:
    with sdk_http("streamable-http", free_port()) as url:
        yield url


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def _trouble(entry: ServerEntry) -> tuple[ServerState, str]:
    async with hub_of(entry) as hub:
        status = hub.status(entry.name)
        return status.state, status.last_error or ""


async def test_a_server_on_this_machine_is_reached_without_proxies(
    http_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{free_port()}")
    monkeypatch.setattr(network, "find_spec", lambda _: None)
    async with hub_of(remote(http_url)) as hub:
        assert (await hub.call("sdk_echo", {"text": "a"})).text == "a"


async def test_a_socks_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    async with listening(answering("418 Teapot")) as there, listening(socks_to(there, asked)) as port:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{port}")
        _, trouble = await _trouble(remote(ELSEWHERE))
    assert asked[0] == "mcp.example"
    assert trouble == f"answered through the proxy socks5h://127.0.0.1:{port} (ALL_PROXY) HTTP 418 Teapot"


async def test_without_the_extra_a_socks_proxy_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://there:1080")
    monkeypatch.setattr(network, "find_spec", lambda _: None)
    state, trouble = await _trouble(remote(ELSEWHERE))
    assert (state, trouble) == (
        ServerState.FAILED,
        'ALL_PROXY: socks5://there:1080 takes an extra: pip install "modelhost[socks]"',
    )


@pytest.mark.parametrize("url", [ELSEWHERE, "http://mcp.example/sse"])
async def test_a_proxy_that_refuses_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(answering("502 Bad Gateway")) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:geheim@127.0.0.1:{port}")
        _, trouble = await _trouble(remote(url))
    assert trouble == f"answered through the proxy http://127.0.0.1:{port} (HTTP_PROXY) HTTP 502 Bad Gateway"


async def test_a_proxy_that_makes_no_tunnel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(answering("407 Proxy Authentication Required")) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        _, trouble = await _trouble(remote(ELSEWHERE.replace("http:", "https:")))
    assert trouble.startswith(f"cannot be reached through the proxy http://127.0.0.1:{port} (HTTPS_PROXY): 407 ")


async def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{port}")
    _, trouble = await _trouble(remote(ELSEWHERE))
    assert trouble.startswith(f"cannot be reached through the proxy http://127.0.0.1:{port} (HTTP_PROXY): ")


async def test_certificates_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    state, trouble = await _trouble(remote("https://mcp.example/mcp"))
    assert state is ServerState.FAILED
    assert trouble.startswith(f"SSL_CERT_FILE: {tmp_path / 'none.pem'} cannot be used (No such file or directory)")


@pytest.mark.parametrize("path", ["mcp", "sse"])
async def test_a_server_that_wants_a_key_says_where_to_give_it(path: str) -> None:
    async with listening(answering("401 Unauthorized", 'WWW-Authenticate: Bearer realm="x"')) as port:
        entry = remote(f"http://127.0.0.1:{port}/{path}")
        _, trouble = await _trouble(entry)
        assert isinstance(entry.transport, HttpTransport)
        keyed = HttpTransport(
            kind=entry.transport.kind, url=entry.transport.url, headers={"Authorization": "Bearer geheim"}
        )
        _, refused = await _trouble(ServerEntry(name="sdk", transport=keyed))
    said = 'answered HTTP 401 Unauthorized: it wants a key; give it as "bearer_token", or in "headers", '
    assert trouble == f"{said}of its entry in mcp.json"
    assert refused.startswith("answered HTTP 401 Unauthorized: it refuses the key of its entry in mcp.json")

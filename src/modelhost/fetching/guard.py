"""The guard of all connections that the host makes for a client: to public addresses only.

A client could otherwise reach through the host what only this machine can reach: services behind the firewall, or the
metadata of a machine in a cloud (https://owasp.org/www-community/attacks/Server_Side_Request_Forgery). Names are
resolved here, and connections are made to the very addresses that were checked: a name server that answers differently
at the next query ("rebinding") changes nothing. Proxies of the environment are not used, since they resolve names
themselves.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from ssl import SSLContext
from typing import Final

import httpx2

from modelhost.errors import FetchRefused
from modelhost.fetching.addresses import Address, addresses_of, is_elsewhere

_RESOLVERS: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="resolver")
"""Threads of their own: a name server that a client chose may be slow, and nothing else has to wait for it."""
Resolve = Callable[[str, int], Awaitable[Iterable[str]]]

PORTS: Final = {"http": 80, "https": 443}
FIRST_FREE_PORT: Final = 1024
"""Below it, only the ports of HTTP are used: others are those of services that speak something else, such as mail."""
LAST_PORT: Final = 65_535
MOST_ADDRESSES: Final = 4
"""Of one name that are tried, one after the other."""
CONNECT_SECONDS: Final = 3.0  # for each of them
NOT_PUBLIC: Final = (
    "the host connects to public addresses only; this one is not public, or its name is unknown. Whoever runs the host "
    "can permit it with the setting fetch_hosts."
)
"""One answer for both: a client does not learn which names there are in the network of the host."""


async def resolve(name: str, port: int) -> Iterable[str]:
    """Return the addresses of ``name``.

    Raises:
        OSError, UnicodeError: it has none, or is not a name.
    """
    loop = asyncio.get_running_loop()
    find = partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
    return [str(found[4][0]) for found in await loop.run_in_executor(_RESOLVERS, find)]


class Guard:
    """Decides where a client may have the host connect to."""

    def __init__(
        self,
        permitted: Iterable[str] = (),
        *,
        resolve: Resolve = resolve,
        is_permitted: Callable[[Address], bool] = is_elsewhere,
    ) -> None:
        """Take the hosts (``name`` or ``name:port``) that are permitted at whatever address they have."""
        self._hosts = frozenset(host.lower() for host in permitted)
        self._resolve = resolve
        self._is_permitted = is_permitted

    async def addresses(self, url: httpx2.URL) -> Sequence[Address]:
        """Return the addresses of ``url``, to connect to these and no others.

        Raises:
            FetchRefused: it is not a URL for HTTP, or leads to an address that is not public.
        """
        if url.scheme not in PORTS or not url.host:
            raise FetchRefused("the URL has to begin with http:// or https://, and to name a host.")
        if url.userinfo:
            raise FetchRefused("the URL must not contain a user name or a password.")
        port = PORTS[url.scheme] if url.port is None else url.port
        if not 0 < port <= LAST_PORT:
            raise FetchRefused(f"there is no port {port}.")
        is_named = self._names(url, port)
        if not is_named and port < FIRST_FREE_PORT and port not in PORTS.values():
            raise FetchRefused(f"the host does not connect to port {port}: use 80, 443, or one from {FIRST_FREE_PORT}.")
        try:
            found = addresses_of(await self._resolve(url.raw_host.decode("ascii"), port))
        except (OSError, ValueError):
            raise FetchRefused(NOT_PUBLIC) from None
        if not found or not (is_named or all(map(self._is_permitted, found))):
            raise FetchRefused(NOT_PUBLIC)
        return found[:MOST_ADDRESSES]

    def _names(self, url: httpx2.URL, port: int) -> bool:
        """Whether a setting permits the host of ``url`` by its name."""
        name = url.raw_host.decode("ascii").lower().removesuffix(".")
        return not self._hosts.isdisjoint((name, f"{name}:{port}", f"[{name}]:{port}"))

    @cached_property
    def tls(self) -> SSLContext:
        """Whom to trust, as the environment says."""
        return httpx2.create_ssl_context()


class GuardedTransport(httpx2.AsyncBaseTransport):
    """HTTP to where a guard permits it, request by request, and so redirect by redirect.

    A request that is refused raises :class:`FetchRefused`; nothing was sent then.
    """

    def __init__(self, guard: Guard, *, max_bytes: int | None = None) -> None:
        """With ``max_bytes``, the bodies of all answers together may be no larger, and none may be compressed."""
        self._guard = guard
        self._left = max_bytes
        # A connection serves one request: one to an address has the TLS certificate of one name there.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._inner = httpx2.AsyncHTTPTransport(verify=guard.tls, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        addresses = await self._guard.addresses(request.url)
        for address in addresses[:-1]:
            try:
                return self._limited(await self._inner.handle_async_request(_at(request, address)))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return self._limited(await self._inner.handle_async_request(_at(request, addresses[-1])))

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _limited(self, response: httpx2.Response) -> httpx2.Response:
        if self._left is None:
            return response
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        stream = _CountedStream(response.stream, self._count)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            stream = _CountedStream(response.stream, _refuse)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    def _count(self, size: int) -> None:
        assert self._left is not None
        self._left -= size
        if self._left < 0:
            raise httpx2.ReadError("the server sends more than is accepted of it")


def _at(request: httpx2.Request, address: Address) -> httpx2.Request:
    """Return ``request`` to ``address``; its ``Host`` stays, and the name is what the certificate has to be for."""
    timeouts = request.extensions.get("timeout", {})
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions={
            **request.extensions,
            "sni_hostname": request.url.raw_host.decode("ascii"),
            "timeout": {**timeouts, "connect": CONNECT_SECONDS},
        },
    )


def _refuse(_: int) -> None:
    raise httpx2.ReadError("the server compresses what was to be sent as it is")


class _CountedStream(httpx2.AsyncByteStream):
    """The body of an answer, whose pieces are counted."""

    def __init__(self, inner: httpx2.AsyncByteStream, count: Callable[[int], None]) -> None:
        self._inner = inner
        self._count = count

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._count(len(piece))
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()

"""Fetches what is at an address of a request, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httpx2

from modelhost.errors import FetchFailed, FetchRefused
from modelhost.fetching.guard import Guard, GuardedTransport
from modelhost.version import __version__

HEADERS: Final = {"User-Agent": f"modelhost/{__version__}", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """Limits of one fetch."""

    seconds: float = 20.0
    """From the first name that is looked up to the last byte."""
    redirects: int = 5


@dataclass(slots=True)
class ByteBudget:
    """How many bytes a request may still have fetched, uncompressed; shared by its fetches."""

    left: int

    def take(self, size: int) -> None:
        """Take ``size`` bytes out of it.

        Raises:
            FetchFailed: there are not as many.
        """
        self.require(size)
        self.left -= size

    def require(self, size: int) -> None:
        """As :meth:`take`, but takes nothing."""
        if size > self.left:
            raise FetchFailed("it is too large: what a request has the host fetch counts as a part of its body.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What was fetched."""

    content: bytes = field(repr=False)
    media_type: str
    """In lower case, without parameters; empty if the server does not say it."""
    charset: str | None = None


class Fetcher:
    """Fetches with GET, from where a guard permits it."""

    def __init__(self, guard: Guard, limits: FetchLimits | None = None) -> None:
        self._guard = guard
        self._limits = limits or FetchLimits()

    async def fetch(self, url: str, *, budget: ByteBudget, accepts: Callable[[str], bool]) -> Fetched:
        """Return what is at ``url``, if ``accepts`` permits its media type; redirects are followed.

        Raises:
            FetchRefused: the address, or one that it redirects to, is not permitted.
            FetchFailed: it cannot be fetched, is too large or takes too long, or is of another type.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._fetched(httpx2.URL(url), budget, accepts)
        except TimeoutError:
            raise FetchFailed(f"it did not arrive within {self._limits.seconds:g} s.") from None
        except httpx2.InvalidURL:
            raise FetchRefused("this is not a URL.") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise FetchFailed("its server cannot be reached, or its certificate is not trusted.") from error
        except httpx2.HTTPError as error:
            raise FetchFailed(f"its server did not deliver it ({type(error).__name__}).") from error

    async def _fetched(self, url: httpx2.URL, budget: ByteBudget, accepts: Callable[[str], bool]) -> Fetched:
        transport = GuardedTransport(self._guard)
        async with httpx2.AsyncClient(
            transport=transport, headers=HEADERS, timeout=self._limits.seconds, trust_env=False
        ) as client:
            request = client.build_request("GET", url)
            for _ in range(self._limits.redirects + 1):
                response = await client.send(request, stream=True)
                try:
                    if response.next_request is None:
                        return await _read(response, budget, accepts)
                    request = response.next_request
                finally:
                    await response.aclose()
        raise FetchFailed(f"it was redirected more than {self._limits.redirects} times.")


async def _read(response: httpx2.Response, budget: ByteBudget, accepts: Callable[[str], bool]) -> Fetched:
    if response.status_code != httpx2.codes.OK:
        raise FetchFailed(f"its server answered HTTP {response.status_code}.")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not accepts(media_type):
        raise FetchFailed(f"its server says that it is {media_type or 'of no type'}, which cannot be used here.")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal():
        budget.require(int(declared))
    pieces = []
    async for piece in response.aiter_bytes():  # uncompressed, at most 1 MiB at a time
        budget.take(len(piece))
        pieces.append(piece)
    return Fetched(content=b"".join(pieces), media_type=media_type, charset=response.charset_encoding)

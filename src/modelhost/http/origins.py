"""Which web pages may use a host without API keys, and under which names it may be addressed.

A page that somebody looks at can send requests to his own machine, and run tools there. Browsers say in ``Origin``
whose page it is; programs say nothing. A page of this host, or of one that is allowed, may. The name in ``Host`` has to
be one that nobody else can own: a name of the page's owner can be made to point here, and the browser takes the two for
one origin (DNS rebinding: https://en.wikipedia.org/wiki/DNS_rebinding). Addresses cannot be made to point elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from modelhost.errors import ForeignOrigin
from modelhost.http.errors import Answer

Headers = list[tuple[bytes, bytes]]

ANY: Final = "*"
CACHED_NAMES: Final = 256  # bounded, since clients can invent names
CONTAINER_NAMES: Final = frozenset({"host.docker.internal", "host.containers.internal"})
"""Names for the machine in its containers; names in ``.internal`` cannot be registered."""

ALLOW_ORIGIN: Final = b"access-control-allow-origin"
METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
MAX_AGE_SECONDS: Final = b"600"
VARY: Final = (b"vary", b"origin")
EXPOSE: Final = (b"access-control-expose-headers", b"*")
"""Headers that pages may read: ids, queue positions, retry times, and those of MCP."""


class Origins:
    """The allowed origins and host names."""

    def __init__(self, allowed: Iterable[str], *, hosts: Iterable[str] = ()) -> None:
        """Take allowed origins, and host names besides the machine's own: ``NAME``, ``*.NAME`` or ``*``.

        The name of a page that may speak to this host is allowed too.
        """
        self._allowed = frozenset(origin.rstrip("/") for origin in allowed)
        names = {_name(each) for each in (*hosts, *self._allowed)}
        self._names = frozenset(names | own_names())
        self._suffixes = tuple(name.removeprefix(ANY) for name in names if name.startswith(f"{ANY}."))
        self._is_known = lru_cache(CACHED_NAMES)(self._knows)

    def check(self, origin: bytes, host: bytes | None) -> None:
        """Check the header ``Origin`` of a request whose ``Host`` has been checked.

        Raises:
            ForeignOrigin: the page may not.
        """
        page = origin.decode("latin-1")
        if not self.allow(page) and page.partition("://")[2] != (host or b"").decode("latin-1"):
            raise ForeignOrigin(
                f"A page of {page} may not use this host, which requires no key. "
                f"Allow it with --allow-origin {page}, or require a key with --api-key.",
                origin=page,
            )

    def check_host(self, host: bytes | None) -> None:
        """Check the header ``Host`` of a request; without one, no browser sent it.

        Raises:
            ForeignOrigin: the name could be that of somebody else.
        """
        if host and not self._is_known(host):
            named = _name(host.decode("latin-1")) or host.decode("latin-1")
            raise ForeignOrigin(
                f'This host requires no key, and is not named "{named}". Use its address or localhost, '
                f"allow the name with --allowed-host {named}, or require a key with --api-key.",
                host=named,
            )

    def allow(self, page: str) -> bool:
        """Whether the settings name the origin ``page``."""
        return page in self._allowed or ANY in self._allowed

    @property
    def allow_some(self) -> bool:
        """Whether the settings name any origin."""
        return bool(self._allowed)

    @property
    def allow_all(self) -> bool:
        """Whether the settings allow every origin."""
        return ANY in self._allowed

    def _knows(self, host: bytes) -> bool:
        name = _name(host.decode("latin-1")).removesuffix(".")
        if name in self._names or ANY in self._names or is_address(name):
            return True
        return name.endswith((".localhost", *self._suffixes))


class Cors:
    """CORS headers of a host that allows some origins (https://fetch.spec.whatwg.org/#http-cors-protocol).

    The pages that ``--allow-origin`` names get the answers, with keys or without. A key travels in ``Authorization``,
    which a page sets itself: cookies mean nothing here, and credentials are not allowed.
    """

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        # One answer for all pages may be cached for all of them; one that differs must not.
        self._always: Headers = [] if origins.allow_all else [VARY]

    def headers(self, origin: bytes | None) -> Headers:
        """Return the headers of every answer to a page of ``origin``."""
        if origin is None or not self._origins.allow(origin.decode("latin-1")):
            return self._always
        named = ANY.encode() if self._origins.allow_all else origin
        return [*self._always, (ALLOW_ORIGIN, named), EXPOSE]

    def preflight(self, method: str, headers: Mapping[bytes, bytes]) -> Answer | None:
        """Return the answer to a preflight request, or ``None`` for any other request.

        The headers of :meth:`headers` come besides. A page that is not allowed gets none.
        """
        origin = headers.get(b"origin")
        if method != "OPTIONS" or origin is None or b"access-control-request-method" not in headers:
            return None
        if not self._origins.allow(origin.decode("latin-1")):
            return None
        answer: Headers = [(b"access-control-allow-methods", METHODS), (b"access-control-max-age", MAX_AGE_SECONDS)]
        # Named one by one: `*` does not stand for Authorization.
        if wanted := headers.get(b"access-control-request-headers"):
            answer.append((b"access-control-allow-headers", wanted))
        if headers.get(b"access-control-request-private-network") == b"true":
            answer.append((b"access-control-allow-private-network", b"true"))
        return 204, answer, b""


def own_names() -> frozenset[str]:
    """Return the names of this machine in lower case, without a name server."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return frozenset({"localhost", name, short, f"{short}.local"}) | CONTAINER_NAMES


def is_address(name: str) -> bool:
    """Whether ``name`` is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name(authority: str) -> str:
    """Return the name in an origin or an authority, in lower case and without its port."""
    authority = authority.strip()  # the parser keeps trailing blanks
    try:
        return urlsplit(authority if "://" in authority else f"//{authority}").hostname or ""
    except ValueError:
        return authority  # unbalanced brackets match no name

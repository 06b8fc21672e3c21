"""What lets a browser give the answers to a page of another origin (https://fetch.spec.whatwg.org/#http-cors-protocol).

The pages that ``--allow-origin`` names get it, with keys or without. A key travels in ``Authorization``, which a page
sets itself: cookies mean nothing here, and credentials are not allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelhost.http.errors import Answer
from modelhost.http.origins import ANY, Origins

Headers = list[tuple[bytes, bytes]]

ALLOW_ORIGIN: Final = b"access-control-allow-origin"
METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
MAX_AGE_SECONDS: Final = b"600"
VARY: Final = (b"vary", b"origin")
EXPOSE: Final = (b"access-control-expose-headers", b"*")
"""Headers that pages may read: ids, queue positions, retry times, and those of MCP."""


class Cors:
    """CORS headers of a host that allows some origins."""

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

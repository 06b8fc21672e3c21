"""Which web pages may speak to a host that asks for no key.

A page that somebody looks at can send requests to his own machine, and run tools there. Browsers say in ``Origin``
whose page it is; programs say nothing. A page of this host, or of one that is allowed, may; and the name under which it
speaks to a host that listens on this machine alone has to be this machine's, since a name of the page's owner can be
made to point here (DNS rebinding: https://en.wikipedia.org/wiki/DNS_rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from modelhost.errors import ForeignOrigin

ANY = "*"


class Origins:
    """The pages that may."""

    def __init__(self, allowed: Iterable[str], *, is_local_only: bool) -> None:
        """``is_local_only``: the host listens on this machine alone."""
        self._allowed = frozenset(origin.rstrip("/") for origin in allowed)
        self._is_local_only = is_local_only

    def check(self, origin: bytes, host: bytes | None) -> None:
        """Check the headers ``Origin`` and ``Host`` of a request.

        Raises:
            ForeignOrigin: the page may not.
        """
        page, named = origin.decode("latin-1"), (host or b"").decode("latin-1")
        if page in self._allowed or ANY in self._allowed:
            return
        if page.partition("://")[2] != named or (self._is_local_only and not is_local(named)):
            raise ForeignOrigin(
                f"A page of {page} may not speak to this host, which asks for no key. "
                f"Allow it with --allow-origin {page}, or ask for a key with --api-key.",
                origin=page,
            )

    def check_host(self, host: bytes | None) -> None:
        """Check the header ``Host`` of a request that no page need have sent.

        Raises:
            ForeignOrigin: the host listens on this machine alone, and was called by a name that is not this machine's.
        """
        named = (host or b"").decode("latin-1")
        if not self._is_local_only or is_local(named) or ANY in self._allowed:
            return
        if named not in {origin.partition("://")[2] for origin in self._allowed}:
            raise ForeignOrigin(
                f'This host listens on its machine alone, and is not called "{named}". Speak to it as 127.0.0.1, or '
                f"allow the name with --allow-origin http://{named}.",
                host=named,
            )


def is_local(authority: str) -> bool:
    """Whether ``authority`` (a name or an address, with or without a port) is this machine's own."""
    try:
        name = urlsplit(f"//{authority}").hostname or ""
    except ValueError:  # half an address, such as "[::1"
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

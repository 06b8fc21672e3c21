"""The API keys of a host, their names, and the check that a host with tools is not exposed without any."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Final

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError

NAMED: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]{0,39})=(.*[^=].*)", re.DOTALL)
"""``NAME=KEY``. A key that ends with the padding of base64 is none: what follows its first ``=`` is nothing else."""
DIGITS_OF_HASH: Final = 8


class ApiKeys:
    """Keys as the settings have them: ``KEY``, or ``NAME=KEY``, which is also a key as a whole."""

    def __init__(self, given: Iterable[str]) -> None:
        self._actors = [(key.encode(), actor) for text in given for key, actor in _keys(text)]

    def actor(self, given: bytes) -> str | None:
        """Return the name of the key ``given``, or ``key-`` and a part of its hash; ``None`` if it is unknown.

        All keys are compared in constant time.
        """
        found = None
        for key, actor in self._actors:
            if hmac.compare_digest(given, key) and found is None:
                found = actor
        return found


def check_exposure(settings: Settings, address: str) -> None:
    """Check that a host on ``address`` (an IP address) does not run tools for everybody.

    A file of MCP servers counts even if it is empty: it is watched, and servers may be added while the host runs.

    Raises:
        ConfigError: other machines could run its tools without a key.
    """
    if settings.mcp_config is None or settings.api_keys or settings.insecure:
        return
    if ipaddress.ip_address(address).is_loopback:
        return
    raise ConfigError(
        f"Whoever reaches {address} could run the tools of {settings.mcp_config} without a key. Require one (--api-key "
        'KEY, or in the configuration file the line "api_keys": ["KEY"]), listen on 127.0.0.1 only, or allow '
        'everyone to (--insecure, or the line "insecure": true).',
        param="insecure",
    )


def _keys(text: str) -> Iterator[tuple[str, str]]:
    if named := NAMED.fullmatch(text):
        yield named[2], named[1]
    # The whole text too: an older key may look like one with a name.
    yield text, f"key-{hashlib.sha256(text.encode()).hexdigest()[:DIGITS_OF_HASH]}"

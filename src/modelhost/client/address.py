"""The address of a running host."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from modelhost.errors import ConfigError

DEFAULT_URL: Final = "http://127.0.0.1:8000"


def normalize_url(url: str) -> str:
    """Return ``url`` with a scheme and without a trailing slash or ``/v1``.

    Raises:
        ConfigError: not an HTTP address. A single word is not one, except ``localhost``.
    """
    has_scheme = "://" in url
    address = (url if has_scheme else f"http://{url}").rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(address)
        is_http = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        if not has_scheme and parts.port is None:
            is_http = is_http and _is_machine(parts.hostname or "")
    except ValueError:
        is_http = False
    if not is_http:
        raise ConfigError(f'"{url}" is not the address of a host; it looks like http://127.0.0.1:8000')
    return address


def _is_machine(name: str) -> bool:
    return name == "localhost" or "." in name or ":" in name

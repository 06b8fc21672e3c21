"""Network settings of the environment: proxies and trusted certificates.

The HTTP libraries read them themselves. This module validates them first, and names them in error messages.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from modelhost.config import environment
from modelhost.config.value_types import has_host
from modelhost.errors import ConfigError

SOCKS_SCHEMES: Final = frozenset({"socks5", "socks5h"})
SOCKS_PACKAGE: Final = "socksio"
SOCKS_EXTRA: Final = "modelhost[socks]"
PROXY_KINDS: Final = ("http", "https", "all")
"""The keys of :func:`getproxies` for ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY``."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of the environment; ``url`` is without credentials."""

    url: str
    variable: str

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme.lower()

    def __str__(self) -> str:
        return f"{self.url} ({self.variable})"


def is_loopback(url: str) -> bool:
    host = (urlsplit(url).hostname or "").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def through(url: str) -> str:
    """Return `` through the proxy ...`` if ``url`` is reached through one, else an empty text."""
    proxy = proxy_for(url)
    return f" through the proxy {proxy}" if proxy is not None else ""


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for ``url``; there is none for this machine."""
    proxies, parts = getproxies(), urlsplit(url)
    kind = parts.scheme.lower() if proxies.get(parts.scheme.lower()) else "all"
    if not proxies.get(kind) or is_loopback(url) or _is_left_out(parts.hostname or "", parts.netloc, proxies):
        return None
    return _proxy(kind, proxies[kind])


def check_network(url: str) -> None:
    """Check the network settings of the environment for ``url``.

    Raises:
        ConfigError: a variable names an unusable proxy or unusable certificates.
    """
    require_certificates()
    proxies, is_here = getproxies(), is_loopback(url)
    for proxy in (_proxy(kind, proxies[kind]) for kind in PROXY_KINDS if proxies.get(kind)):
        if not has_host(proxy.url):  # the libraries parse it even where they do not use it
            raise ConfigError(f"{proxy.variable}: {proxy.url} is no address: name a proxy as http://there:3128")
        if is_here:
            continue
        if proxy.scheme in SOCKS_SCHEMES and find_spec(SOCKS_PACKAGE) is None:
            raise ConfigError(f'{proxy.variable}: {proxy.url} takes an extra: pip install "{SOCKS_EXTRA}"')
        if proxy.scheme not in {"http", "https", *SOCKS_SCHEMES}:
            raise ConfigError(
                f"{proxy.variable}: {proxy.url} is no proxy that can be used: name one at http://, https:// or socks5://"
            )


def require_certificates() -> None:
    """Check that ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``, if set, exists: otherwise no server would be trusted.

    Raises:
        ConfigError: one of them cannot be used.
    """
    environ = environment.current()
    advice = "name where the certificates to trust are, or unset it"
    if file := environ.get("SSL_CERT_FILE"):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except OSError as error:
            raise ConfigError(f"SSL_CERT_FILE: {file} cannot be used ({error.strerror or error}): {advice}") from error
    elif (folder := environ.get("SSL_CERT_DIR")) and not any(Path(part).is_dir() for part in folder.split(":")):
        raise ConfigError(f"SSL_CERT_DIR: {folder} is no folder: {advice}")


def _proxy(kind: str, value: str) -> Proxy:
    variable, value = f"{kind.upper()}_PROXY", value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(value)
    except ValueError:  # not a valid URL: displayed without its end, which may hold a password
        return Proxy(f"{value.partition('://')[0]}://", variable)
    return Proxy(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), variable)


def _is_left_out(host: str, netloc: str, proxies: Mapping[str, str]) -> bool:
    """Whether ``NO_PROXY`` matches the host by name, domain, address or network."""
    entries = [entry.strip().lower() for entry in proxies.get("no", "").split(",") if entry.strip()]
    names = [entry.removeprefix("*").removeprefix(".").strip("[]") for entry in entries]
    is_named = any(name in {"", host, netloc.lower()} or host.endswith(f".{name}") for name in names)  # "" was "*"
    return is_named or any(_is_in(host, entry) for entry in entries if "/" in entry)


def _is_in(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False

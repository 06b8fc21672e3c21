"""Addresses of servers in the place of a model's file: ``http://gpu-box:8000/v1``, several with commas between them."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from modelhost.errors import ConfigError
from modelhost.models.hub_reference import parse_reference

SCHEMES = ("http://", "https://")


def is_url(model: str | None) -> bool:
    """Whether ``model`` is the address of a server; that of a model on the hub is not."""
    return model is not None and model.lower().startswith(SCHEMES) and parse_reference(model) is None


def server_urls(model: str | None) -> tuple[str, ...]:
    """Return the addresses in ``model``.

    Raises:
        ConfigError: it is something else, or one of them is not the base URL of an API; a secret in it is not repeated.
    """
    given = [url.strip() for url in (model or "").split(",") if url.strip()]
    if not given:
        raise ConfigError(
            "model: the engine remote needs the URL of a server, such as http://there:8000/v1", param="model"
        )
    for url in given:
        if problem := problem_of(url):
            raise ConfigError(f"model: {problem}", param="model")
    return tuple(url.rstrip("/") for url in given)


def problem_of(url: str) -> str:
    """Return what is wrong with the address of a server; empty if nothing is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"not a URL: {error}"
    if parts.scheme.lower() not in {"http", "https"} or not host or port == 0:
        return f'"{_shown(parts)}" is not the URL of a server, such as http://there:8000/v1'
    if parts.username is not None or parts.password is not None:
        return f"the URL of {host} holds a name or a password: give the key as api_key (--remote-api-key)"
    if parts.query or parts.fragment:
        return f"{_shown(parts)} is followed by more than a path: give the base URL of the API"
    return ""


def server_name(model: str | None) -> str:
    """Return what a model is called of whose server nothing but the address is known."""
    first = (model or "").split(",")[0].strip()
    return "remote" if problem_of(first) else urlsplit(first).hostname or "remote"


def _shown(parts: SplitResult) -> str:
    """The address without what may be a secret."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

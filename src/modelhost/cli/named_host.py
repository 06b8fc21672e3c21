"""Which host a person names, and with which key: by options, by the environment, or by ``.env`` in this directory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modelhost.config.environment import KEY_VARIABLE, URL_VARIABLE, current, read_settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedHost:
    """``None``: not named."""

    url: str | None
    api_key: str | None = field(repr=False)


def named_host(url: str | None, api_key: str | None) -> NamedHost:
    """The host of the options ``url`` and ``api_key``, else of the environment, else of ``.env``.

    To an address that only ``.env`` names goes no key of the environment: whoever wrote that file could have it sent
    to himself.
    """
    environ, dotenv = current(), read_settings_of(Path()).variables
    named = url or environ.get(URL_VARIABLE)
    own_key = dotenv.get(KEY_VARIABLE)
    key = environ.get(KEY_VARIABLE) or own_key if named or not dotenv.get(URL_VARIABLE) else own_key
    return NamedHost(url=named or dotenv.get(URL_VARIABLE), api_key=api_key or key or None)

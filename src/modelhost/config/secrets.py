"""The secrets in a host's settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from modelhost.config.fields import SETTINGS
from modelhost.config.settings import Settings


def secrets_in(settings: Settings) -> Iterator[str]:
    """Every secret value, and of an address its password alone too."""
    for key, setting in SETTINGS.items():
        if setting.is_secret:
            for secret in _secrets_of(getattr(settings, key)):
                yield secret
                if "://" in secret and (password := urlsplit(secret).password):
                    yield from (password, unquote(password))


def _secrets_of(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _secrets_of(each)

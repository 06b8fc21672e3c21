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
                if password := _password_in(secret):
                    yield from (password, unquote(password))


def _password_in(secret: str) -> str | None:
    try:
        return urlsplit(secret).password if "://" in secret else None
    except ValueError:  # it looks like an address and is none
        return None


def _secrets_of(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _secrets_of(each)

"""Masks the secrets of this process in logs, wherever they occur: in errors, or in the output of servers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MASK: Final = "[redacted]"
MIN_SECRET_LENGTH: Final = 6
"""Shorter secrets are not masked: they occur inside ordinary words, and the mask would reveal them."""
NO_SECRETS: Final = frozenset(
    {"HOME", "USER", "LOGNAME", "PWD", "PATH", "SHELL", "LANG", "TERM", "TMPDIR", "HOSTNAME", "true", "false"}
)
"""Variables that hold places or names, and are no secrets."""
_SECRET_NAME: Final = re.compile(r"key|token|secret|passw|credential|auth|cookie", re.IGNORECASE)


class _Secrets:
    """All registered secrets, as one pattern."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self.pattern: re.Pattern[str] | None = None

    def add(self, texts: Iterable[str]) -> None:
        new = {text for text in texts if len(text) >= MIN_SECRET_LENGTH} - self._texts
        if new:
            self._texts |= new
            # The longest first: one that is a part of another must not leave the rest of it.
            longest_first = sorted(self._texts, key=lambda text: (-len(text), text))
            self.pattern = re.compile("|".join(map(re.escape, longest_first)))


_KNOWN: Final = _Secrets()


def hide(secrets: Iterable[str]) -> None:
    """Mask ``secrets`` in all logs from now on, except very short ones."""
    _KNOWN.add(secrets)


def is_secret_name(name: str) -> bool:
    """Whether a variable or header holds a secret, judging by its name."""
    return bool(_SECRET_NAME.search(name))


def without_secrets(value: Any) -> Any:
    """Return ``value`` with all secrets in its texts masked."""
    if _KNOWN.pattern is None:
        return value
    if isinstance(value, str):
        return _KNOWN.pattern.sub(MASK, value)
    if isinstance(value, Mapping):
        return {without_secrets(key): without_secrets(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [without_secrets(each) for each in value]
    return value

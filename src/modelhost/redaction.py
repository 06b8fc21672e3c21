"""The secrets of this process, which no log repeats, wherever they turn up: in an error, or in what a server writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MASK: Final = "[redacted]"
MIN_SECRET_LENGTH: Final = 6
"""Of a secret: something shorter turns up in ordinary words, and would be told by what is left of them."""
NO_SECRETS: Final = frozenset(
    {"HOME", "USER", "LOGNAME", "PWD", "PATH", "SHELL", "LANG", "TERM", "TMPDIR", "HOSTNAME", "true", "false"}
)
"""Variables that stand in a configuration for a place or a person, and are no secrets."""
_SECRET_NAME: Final = re.compile(r"key|token|secret|passw|credential|auth|cookie", re.IGNORECASE)


class _Secrets:
    """All that were named, as one pattern."""

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
    """Have no log repeat any of ``secrets`` from now on. Very short ones are not looked for."""
    _KNOWN.add(secrets)


def is_secret_name(name: str) -> bool:
    """Whether a variable or header of that name holds a secret, by all that its name says."""
    return bool(_SECRET_NAME.search(name))


def without_secrets(value: Any) -> Any:
    """``value`` with a mask in the place of each secret in the texts that it holds."""
    if _KNOWN.pattern is None:
        return value
    if isinstance(value, str):
        return _KNOWN.pattern.sub(MASK, value)
    if isinstance(value, Mapping):
        return {without_secrets(key): without_secrets(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [without_secrets(each) for each in value]
    return value

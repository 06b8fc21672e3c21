"""The API keys of a host, and their names."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from typing import Final

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


def _keys(text: str) -> Iterator[tuple[str, str]]:
    if named := NAMED.fullmatch(text):
        yield named[2], named[1]
    # The whole text too: an older key may look like one with a name.
    yield text, f"key-{hashlib.sha256(text.encode()).hexdigest()[:DIGITS_OF_HASH]}"

"""Regular expressions of clients, models and tool servers, which must not block the host.

Those of Python's own module can take longer than the universe is old, and nothing can be done meanwhile. These are of
the library ``regex`` (https://github.com/mrabarnett/mrab-regex), which gives up in time, and knows ``\\p{L}`` as JSON
Schema does. It is imported where it is needed: most requests have no expression.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from modelhost import lazy

if TYPE_CHECKING:
    import regex

TIMEOUT_SECONDS: Final = 0.1
"""The time limit for one match; patterns of schemas take microseconds."""
CACHE_SIZE: Final = 256
"""Compiled expressions."""
_PART: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
"""An escaped character, a class, or one character."""


class TooSlow(Exception):
    """A match took longer than :data:`TIMEOUT_SECONDS`; the message names the pattern."""


def check(pattern: str) -> None:
    """Check that ``pattern`` is a regular expression.

    Raises:
        ValueError: it is none; the message says why.
    """
    try:
        _compiled(pattern)
    except (lazy.regex.error, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def without_anchors(pattern: str) -> str:
    """Return ``pattern`` so that whole matches need no ``^`` at its beginning or ``$`` at its end.

    Each alternative of the whole pattern loses its own; those within groups stay.
    """
    parts = [found[0] for found in _PART.finditer(pattern)]
    kept, depth = [], 0
    for before, part, after in zip(["|", *parts], parts, [*parts[1:], "|"], strict=False):
        depth += (part == "(") - (part == ")")
        is_anchor = (part == "^" and before == "|") or (part == "$" and after == "|")
        if depth or not is_anchor:
            kept.append(part)
    return "".join(kept)


def search(pattern: str, text: str) -> bool:
    """Whether ``pattern``, which passed :func:`check`, matches somewhere in ``text``; raises TooSlow."""
    try:
        return _compiled(pattern).search(text, timeout=TIMEOUT_SECONDS) is not None
    except TimeoutError:
        raise _slow(pattern) from None


def fullmatch(pattern: str, text: str) -> bool:
    """Whether ``pattern`` matches the whole ``text``; otherwise like :func:`search`."""
    try:
        return _compiled(pattern).fullmatch(text, timeout=TIMEOUT_SECONDS) is not None
    except TimeoutError:
        raise _slow(pattern) from None


def _slow(pattern: str) -> TooSlow:
    return TooSlow(f"it takes more than {TIMEOUT_SECONDS:g} s to hold it against the regular expression {pattern!r}")


@lru_cache(maxsize=CACHE_SIZE)
def _compiled(pattern: str) -> regex.Pattern[str]:
    return lazy.regex.compile(pattern)

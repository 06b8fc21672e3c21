"""How large a regular expression is once its counted repetitions are written out, which is how grammars hold them."""

from __future__ import annotations

import re
from typing import Final

MOST_WRITTEN_OUT: Final = 10_000
"""llguidance takes some 40,000 within a second, and of a million nothing: an answer is then bound by nothing."""
_PART: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?:)?|\)|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)
_FREE: Final = frozenset("|*+?^$")


def is_large(pattern: str) -> bool:
    """Return whether ``pattern``, a regular expression, has more than ``MOST_WRITTEN_OUT`` characters written out."""
    return size_of(pattern) > MOST_WRITTEN_OUT


def size_of(pattern: str) -> int:
    """Return how many characters ``pattern`` has when each repetition stands there as often as it may come at most."""
    totals = [0]
    last = 0
    for part in _PART.finditer(pattern):
        text = part[0]
        if text[0] == "(":
            totals.append(0)
            last = 0
        elif text == ")" and len(totals) > 1:
            last = totals.pop()
            totals[-1] += last
        elif part[1] is not None:
            times = max(int(part[1]), int(part[2] or 0))
            totals[-1] += last * (times - 1)
            last *= times
        elif text not in _FREE:
            last = 1
            totals[-1] += 1
    return sum(totals)

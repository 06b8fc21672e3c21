"""Numbers in forms, whose fields are all texts."""

from __future__ import annotations

import math
import re
from typing import Final

NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""Without what Python alone reads as one: underscores, the digits of other scripts, ``nan`` and ``inf``."""
SPACES: Final = " \t\r\n"
LONGEST: Final = 400
"""Longer ones are beyond what a float can be; Python refuses whole numbers of some thousand digits."""


def number_in(text: str) -> int | float | str:
    """Return the number that ``text`` is, or else ``text`` itself, which the check of its field refuses."""
    given = text.strip(SPACES)
    if len(given) > LONGEST or not NUMBER.fullmatch(given):
        return text
    try:
        return int(given)
    except ValueError:
        number = float(given)
    return number if math.isfinite(number) else text

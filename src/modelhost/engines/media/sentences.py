"""A text as sentences, for voices that speak a whole text at once: audio is there after the first one."""

from __future__ import annotations

import re
from typing import Final

END: Final = re.compile(r"(?<=[.!?\u2026])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
"""Between two sentences."""


def sentences_in(text: str) -> list[str]:
    """Return the sentences of ``text`` that have anything to speak."""
    parts = (part.strip() for part in END.split(text))
    return [part for part in parts if any(character.isalnum() for character in part)]

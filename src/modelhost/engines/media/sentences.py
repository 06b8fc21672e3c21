"""A text as sentences, for voices that speak a whole text at once: audio is there after the first one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

END: Final = re.compile(r"(?<=[.!?\u2026])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
"""Between two sentences."""
LONGEST: Final = 500
"""Characters of a sentence: a voice computes it as a whole, with memory that grows faster than its length."""
MOST_AT_ONCE: Final = 2_000
"""Characters: a voice that finds the sentences itself reads all of its text before it speaks the first."""
CLAUSE_END: Final = re.compile(r"[,;:](?=\s)|[\u3001\uff0c\uff1b\uff1a]")


def sentences_in(text: str) -> list[str]:
    """Return the sentences of ``text`` that have anything to speak, in parts where they are longer than ``LONGEST``."""
    parts = (part.strip() for sentence in END.split(text) for part in _parts(sentence))
    return [part for part in parts if any(character.isalnum() for character in part)]


def bounded(text: str) -> list[str]:
    """Return ``text`` in parts of several sentences, for a voice that finds these itself; each if one is too long."""
    if any(len(sentence) > LONGEST for sentence in END.split(text)):
        return sentences_in(text)
    parts, begin, end = [], 0, 0
    for found in END.finditer(text):
        if found.end() - begin > MOST_AT_ONCE and end > begin:
            parts.append(text[begin:end])
            begin = end
        end = found.end()
    return [part for part in (*parts, text[begin:]) if part.strip()]


def _parts(sentence: str) -> Iterator[str]:
    """Yield ``sentence`` in parts: up to the end of a clause, else of a word, if there is one in their second half."""
    at = 0
    while len(sentence) - at > LONGEST:
        head, least = sentence[at : at + LONGEST], LONGEST // 2
        clause = max((found.end() for found in CLAUSE_END.finditer(head)), default=0)
        word = head.rfind(" ") + 1
        length = next((each for each in (clause, word) if each > least), LONGEST)
        yield head[:length]
        at += length
    yield sentence[at:]

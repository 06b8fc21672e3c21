"""Numbers with their nouns, in messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return ``number`` with ``noun``, which takes an s where there is not one of it: "1 core", "2 cores"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

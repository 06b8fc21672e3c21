"""Models that are split over several GGUF files, as ``gguf-split`` names them: ``model-00001-of-00003.gguf``."""

from __future__ import annotations

import re

_SPLIT_NAME = re.compile(r"^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)


def part_number(name: str) -> int | None:
    """Return the number of the part that the file ``name`` is, from 1 on, or ``None`` if it is a whole model."""
    match = _match(name)
    return int(match["part"]) if match else None


def part_names(name: str) -> list[str]:
    """Return the names of all parts of the set to which ``name`` belongs; of a whole model its own."""
    match = _match(name)
    if match is None:
        return [name]
    suffix = name[-len(".gguf") :]
    return [f"{match['stem']}-{part:05d}-of-{match['count']}{suffix}" for part in range(1, int(match["count"]) + 1)]


def stem(name: str) -> str:
    """Return ``name`` without its part number and ``.gguf``."""
    match = _match(name)
    if match is not None:
        return match["stem"]
    return name[: -len(".gguf")] if name.lower().endswith(".gguf") else name


def _match(name: str) -> re.Match[str] | None:
    match = _SPLIT_NAME.match(name)
    return match if match and 1 <= int(match["part"]) <= int(match["count"]) else None

"""The traits of the engine for transcription."""

from __future__ import annotations

from typing import Final

from modelhost.engines.environments import Recipe, locked
from modelhost.engines.traits import EngineTraits, Installation

VOCABULARIES: Final = frozenset({"vocabulary.json", "vocabulary.txt"})


def is_whisper(names: frozenset[str]) -> bool:
    """Whether files of these ``names`` are a Whisper model in the layout of CTranslate2."""
    return {"model.bin", "config.json"} <= names and not VOCABULARIES.isdisjoint(names)


TRAITS: Final = EngineTraits(
    name="whisper",
    recognises=is_whisper,
    reads="Whisper for CTranslate2",
    can=("transcription",),
    installation=Installation(
        modules=("faster_whisper", "av"),
        distribution="faster-whisper",
        environment=Recipe(distribution="faster-whisper", installs=(locked("whisper"),), module="faster_whisper, av"),
    ),
    process_bytes=200_000_000,
)

"""The traits of the engine for transcription."""

from __future__ import annotations

from typing import Final

from modelhost.engines.environments import Recipe, locked
from modelhost.engines.traits import EngineTraits, Installation

VOCABULARIES: Final = frozenset({"vocabulary.json", "vocabulary.txt"})
FILES: Final = frozenset({"model.bin", "config.json"})


def is_whisper(names: frozenset[str]) -> bool:
    """Whether files of these ``names`` are a Whisper model in the layout of CTranslate2."""
    return names >= FILES and not VOCABULARIES.isdisjoint(names)


def lacks(names: frozenset[str]) -> str | None:
    """Return the file without which files of these ``names`` are no such model; PyTorch's are called otherwise."""
    return "vocabulary.json" if names >= FILES and VOCABULARIES.isdisjoint(names) else None


TRAITS: Final = EngineTraits(
    name="whisper",
    recognises=is_whisper,
    layout="ctranslate2",
    lacks=lacks,
    reads="Whisper for CTranslate2",
    can=("transcription",),
    installation=Installation(
        modules=("faster_whisper", "av"),
        distribution="faster-whisper",
        environment=Recipe(distribution="faster-whisper", installs=(locked("whisper"),), module="faster_whisper, av"),
    ),
    process_bytes=200_000_000,
)

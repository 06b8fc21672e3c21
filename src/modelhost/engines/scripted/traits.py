"""The traits of the scripted engine."""

from __future__ import annotations

from typing import Final

from modelhost.engines.traits import EngineTraits

TRAITS: Final = EngineTraits(
    name="scripted",
    serves="script",
    reads="scripts",
    can=("tests", "benchmarks", "speech", "transcription", "images", "image_edits"),
)

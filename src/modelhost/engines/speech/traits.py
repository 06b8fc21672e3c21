"""The traits of the engine for speech."""

from __future__ import annotations

from typing import Final

from modelhost.engines.environments import Recipe, locked
from modelhost.engines.traits import EngineTraits, Installation

HIBARI: Final = "hibari"


def is_voice(names: frozenset[str]) -> bool:
    """Whether files of these ``names`` are a voice: the layout of sherpa-onnx."""
    return "tokens.txt" in names and any(name.endswith(".onnx") for name in names)


TRAITS: Final = EngineTraits(
    name="speech",
    recognises=is_voice,
    layout="onnx",
    packaged=(HIBARI,),
    reads="voices for sherpa-onnx (ONNX)",
    can=("speech",),
    installation=Installation(
        modules=("sherpa_onnx", "av"),
        distribution="sherpa-onnx",
        environment=Recipe(
            distribution="sherpa-onnx",
            installs=(locked("speech"),),
            module="sherpa_onnx, av",
            voices={HIBARI: locked("speech-hibari")},
        ),
    ),
    process_bytes=220_000_000,
)

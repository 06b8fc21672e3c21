"""The traits of transformers."""

from __future__ import annotations

from typing import Final

from modelhost.engines.capabilities import EXACT, TEXT_ONLY, Capabilities
from modelhost.engines.traits import TEXT, EngineTraits, GpuSupport, Installation, NumberFormats
from modelhost.engines.transformers.text_kinds import why_not_loaded
from modelhost.engines.transformers.vision_kinds import PROCESSORS

TRAITS: Final = EngineTraits(
    name="transformers",
    formats=frozenset({"safetensors"}),
    best_on=frozenset({"other"}),
    capabilities=Capabilities(
        title="transformers",
        reads="safetensors, including what sees in LLaVA, LLaVA-NeXT, Idefics 3 and SmolVLM",
        runs_on="Linux, macOS; CPU, CUDA, MPS",
        differs=TEXT_ONLY,
        contents=EXACT,
    ),
    kinds={
        "whisper": "transcription",
        **dict.fromkeys(("vits", "dia", "bark", "csm"), "speech"),
        "sentence_transformers": "embeddings",
    },
    reads="safetensors",
    can=(*TEXT, "embeddings", "speech", "transcription"),
    installation=Installation(
        modules=("torch", "transformers", "llguidance"), distribution="transformers", has_extra=True
    ),
    gpu=GpuSupport(install_command="pip install --force-reinstall torch"),
    process_bytes=420_000_000,
    vision_types=frozenset(PROCESSORS),
    why_not_loaded=why_not_loaded,
    numbers=NumberFormats(uses_16_bits_on_apple_silicon=True),
)

"""The traits of mistral.rs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.capabilities import TEXT_ONLY, Capabilities
from modelhost.engines.environments import Recipe, locked
from modelhost.engines.traits import TEXT, EngineTraits, Installation, NumberFormats


def _quantized_bits(options: Mapping[str, Any]) -> int | None:
    digits = [letter for letter in str(options.get("isq", "none")) if letter.isdigit()]
    return int(digits[0]) if digits else None


TRAITS: Final = EngineTraits(
    name="mistralrs",
    formats=frozenset({"safetensors", "gguf"}),
    fallback_rank=2,
    capabilities=Capabilities(
        title="mistral.rs",
        reads="safetensors, quantized while they are loaded with `isq`; GGUF",
        runs_on="Linux; CPU; macOS on Apple silicon",
        differs={
            **TEXT_ONLY,
            "seed": "refused",
            "min_tokens_to_keep": "refused",
            "min_tokens": "refused",
            "stop_token_ids": "refused",
            "markers_as_text": "refused",
            "echo": "host",
            "prompt_logprobs": "refused",
        },
        quantizes_by="isq",
        reports_cached_tokens=False,
    ),
    reads="safetensors, GGUF",
    can=TEXT,
    installation=Installation(
        modules=("mistralrs",),
        distribution="mistralrs",
        environment=Recipe(distribution="mistralrs", installs=(locked("mistralrs"),), module="mistralrs"),
    ),
    process_bytes=100_000_000,
    numbers=NumberFormats(is_unknown=True, quantized_bits=_quantized_bits),
)

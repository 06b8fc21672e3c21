"""The traits of MLX."""

from __future__ import annotations

from typing import Final

from modelhost.engines.capabilities import EXACT, TEXT_ONLY, Capabilities
from modelhost.engines.traits import TEXT, EngineTraits, Installation, NumberFormats

TRAITS: Final = EngineTraits(
    name="mlx",
    formats=frozenset({"safetensors"}),
    best_on=frozenset({"apple_silicon"}),  # where it uses the GPU
    fallback_rank=1,
    capabilities=Capabilities(
        title="MLX",
        reads="safetensors, including MLX's quantizations",
        runs_on="macOS on Apple silicon; Linux on CPUs",
        differs=TEXT_ONLY,
        contents=EXACT,
    ),
    reads="safetensors",
    can=TEXT,
    installation=Installation(modules=("mlx", "mlx_lm", "llguidance"), distribution="mlx-lm", has_extra=True),
    process_bytes=130_000_000,
    vision_types=frozenset(),
    numbers=NumberFormats(uses_16_bits_on_apple_silicon=True, keeps_packed=True),
)

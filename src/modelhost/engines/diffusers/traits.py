"""The traits of the engine for images."""

from __future__ import annotations

from typing import Final

from modelhost.engines.diffusers.layout import is_pipeline
from modelhost.engines.environments import TORCH, Recipe, locked
from modelhost.engines.traits import EngineTraits, GpuSupport, Installation

TRAITS: Final = EngineTraits(
    name="diffusers",
    recognises=is_pipeline,
    layout="pipeline",
    reads="pipelines for diffusers: Stable Diffusion, SDXL, SD3, Flux (safetensors)",
    can=("images", "image_edits"),
    installation=Installation(
        modules=("diffusers", "torch", "transformers", "PIL"),
        distribution="diffusers",
        environment=Recipe(
            distribution="diffusers",
            installs=(TORCH, locked("diffusers")),
            module="diffusers, torch, transformers, PIL",
        ),
    ),
    gpu=GpuSupport(install_command="modelhost engines install diffusers"),
    process_bytes=450_000_000,
    start_seconds=300.0,  # its libraries take half a minute to import on a busy machine
)

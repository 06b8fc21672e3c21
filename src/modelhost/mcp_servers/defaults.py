"""What a server gives to calls that are silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelhost.operations.llm import VLLM_MCP_DEFAULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDefaults:
    """What a call gets where it is silent. ``None``: the model's own default, and without one the seed's."""

    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    gpu_memory_utilization: float | None = None
    """Shown by ``model_info`` and in advice for want of memory; ``None``: what the host says."""
    max_model_len: int | None = None
    """As above."""

    def sampling(self, models_own: Mapping[str, Any]) -> dict[str, Any]:
        """Return a value for each of the four fields of sampling, given the defaults of the model."""
        return {
            name: own if (own := getattr(self, name)) is not None else models_own.get(name, seeds)
            for name, seeds in VLLM_MCP_DEFAULTS.items()
        }

"""LoRA adapters of vLLM: each is served under its own name, which requests use as their model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelhost.engines.adapters import DEFAULT_SCALE, AdapterSelection, adapter_model_name, with_adapter_label
from modelhost.engines.launch import ModelSpec
from modelhost.errors import ConfigError, InvalidRequest

RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts for ``--max-lora-rank``: at least the largest rank of all adapters."""
NEEDS_NAME: Final = (
    "vllm applies an adapter to the requests that name it; write NAME=DIRECTORY, or serve a model that the adapter is "
    "merged into"
)


class ServedAdapters:
    """The :class:`~modelhost.engines.adapters.AdapterSelector` of vLLM."""

    def applied(self, body: dict[str, Any], applied: AdapterSelection) -> dict[str, Any]:
        chosen = applied.chosen
        if len(chosen) > 1:
            names = ", ".join(str(adapter.name) for adapter, _ in chosen)
            raise InvalidRequest(f"lora: vllm applies one adapter to a request, not {names} together.", param="lora")
        for adapter, scale in chosen:
            if scale != DEFAULT_SCALE:
                raise InvalidRequest(
                    f"lora: vllm applies {adapter.name} as strongly as its files say; leave the scale out.",
                    param="lora",
                )
        return with_adapter_label(body, applied)


def served_adapters(spec: ModelSpec) -> list[dict[str, str]]:
    """Return the adapters of ``spec`` in the form of ``--lora-modules``.

    Raises:
        ConfigError: one has no name, or a scale.
    """
    for adapter in spec.lora:
        if adapter.name is None:
            raise ConfigError(f"lora: {NEEDS_NAME}", param="lora")
        if adapter.scale != DEFAULT_SCALE:
            raise ConfigError(
                f"lora: vllm applies {adapter.name} as strongly as its adapter_config.json says (lora_alpha); leave "
                "the scale out",
                param="lora",
            )
    return [{"name": adapter_model_name(spec.name, str(each.name)), "path": str(each.path)} for each in spec.lora]


def adapter_places(spec: ModelSpec) -> int:
    """Return how many adapters vLLM has room for in one step.

    That is all of them, so that requests for one adapter do not wait for those for another; on a CPU one more, which
    stays empty: as of vLLM 0.32, requests without an adapter get what is in the last place if others have one.
    """
    return len(spec.lora) if spec.gpus else len(spec.lora) + 1


def adapter_arguments(adapters: Sequence[Mapping[str, str]], *, places: int) -> list[str]:
    """Return the arguments of vLLM's server for ``adapters``, made by :func:`served_adapters`; reads their files."""
    if not adapters:
        return []
    rank = max(_rank(Path(adapter["path"])) for adapter in adapters)
    sizes = ["--max-loras", str(places), "--max-lora-rank", str(_at_least(rank))]
    return ["--enable-lora", *sizes, "--lora-modules", *map(json.dumps, adapters)]


def _rank(directory: Path) -> int:
    described = json.loads((directory / "adapter_config.json").read_bytes())
    ranks = [described.get("r", 0), *(described.get("rank_pattern") or {}).values()]
    return max(rank for rank in ranks if isinstance(rank, int))


def _at_least(rank: int) -> int:
    """Return the smallest size that has room for ``rank``; a larger rank is returned for vLLM to refuse."""
    return next((size for size in RANKS if size >= rank), rank)

"""LoRA adapters of llama.cpp: loaded with the model, and scaled by each request.

What its server does, as of build 11549:

* a request that says nothing of adapters has all of them, with the scales of their load, and goes on with what its slot
  holds, whoever wrote that with which adapters. One that says something gets the others with 0, and a slot that has
  other scales forgets what it holds. So every request to a model with adapters to choose from names the scales of all;
* requests with unequal scales are never computed in one step;
* the memory for the caches of finished conversations (``cache_ram_mib``) knows texts, but not adapters: a conversation
  would be gone on with from what another adapter has made of the same words. So such models do without it, and keep
  what lies in their slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelhost.engines.adapters import AdapterSelection, with_adapter_label
from modelhost.engines.launch import ModelSpec
from modelhost.errors import ConfigError


class ScaledAdapters:
    """The :class:`~modelhost.engines.adapters.AdapterSelector` of llama.cpp."""

    def applied(self, body: dict[str, Any], applied: AdapterSelection) -> dict[str, Any]:
        body["lora"] = [{"id": place, "scale": scale} for place, scale in enumerate(applied.scales)]
        return with_adapter_label(body, applied)


def scales_at_load(spec: ModelSpec) -> list[list[Any]]:
    """Return the file of each adapter with the scale that it has for what names none: 0 if it is there to be chosen."""
    return [[str(each.path), each.scale if each.name is None else 0.0] for each in spec.lora]


def cache_ram_mib(spec: ModelSpec, options: Mapping[str, Any]) -> int:
    """Return the MiB for the caches of finished conversations."""
    return 0 if _has_choice(spec) else int(options["cache_ram_mib"])


def check_adapters(spec: ModelSpec, options: Mapping[str, Any], *, known: Mapping[str, Any]) -> None:
    """Check that nothing is asked for that would mix the adapters of ``spec``.

    Raises:
        ConfigError: an option wants that.
    """
    if not _has_choice(spec):
        return
    if options["cache_ram_mib"] not in (0, known["cache_ram_mib"]):
        raise ConfigError(
            'engine option "cache_ram_mib": llama.cpp does not tell adapters apart in that memory; a model whose '
            "adapters requests choose has none, so leave it out",
            param="engine_options",
        )
    if options["pooling"] == "last":
        raise ConfigError(
            'engine option "pooling": with last, llama.cpp would make embeddings of what adapters have left in a slot; '
            "take another one, or serve the model once more without adapters",
            param="engine_options",
        )


def _has_choice(spec: ModelSpec) -> bool:
    return any(each.name is not None for each in spec.lora)

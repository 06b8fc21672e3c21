"""LoRA adapters of llama.cpp: loaded with the model, and scaled by each request.

What its server does, as of build 11549:

* a request without adapters gets all of them, with the scales of the load, and continues the cache of its slot,
  regardless of the adapters of that cache. A request with adapters gets a scale of 0 for those that it does not name,
  and a slot with other scales drops its cache. So every request to a model with selectable adapters names all scales;
* requests with unequal scales are never computed in one step;
* the cache of finished conversations (``cache_ram_mib``) is keyed by text, not by adapters: a conversation would be
  continued from what another adapter has computed for the same text. So such models do without it, and keep the caches
  in their slots only.
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
    """Return the file of each adapter with its scale for requests without adapters: 0 if it is selectable."""
    return [[str(each.path), each.scale if each.name is None else 0.0] for each in spec.lora]


def cache_ram_mib(spec: ModelSpec, options: Mapping[str, Any]) -> int:
    """Return the MiB for the cache of finished conversations."""
    return 0 if _has_choice(spec) else int(options["cache_ram_mib"])


def check_adapters(spec: ModelSpec, options: Mapping[str, Any], *, known: Mapping[str, Any]) -> None:
    """Check that no option would mix the adapters of ``spec``.

    Raises:
        ConfigError: an option would.
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

"""Which files of a hub repository are a pipeline of diffusers: those that it is loaded from, and no duplicates.

Such repositories hold the same weights in several formats and precisions, beside each other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from modelhost.engines.diffusers.layout import (
    INDEX,
    SHARDS_INDEX,
    WEIGHTS,
    WITH_WEIGHTS,
    components_of,
    variant_of,
    weights_in,
)
from modelhost.errors import DownloadFailed
from modelhost.models.files.model_files import PICKLED, SAFETENSORS
from modelhost.models.hub.references import HubReference

BESIDE_WEIGHTS: Final = (".json", ".jinja", ".model", ".txt")
"""Suffixes of the files of a component besides its weights: configuration, vocabulary."""
OTHER_WEIGHTS: Final = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".onnx", ".gguf", ".safetensors")


def pipeline_names(names: Collection[str], index: Mapping[str, Any], reference: HubReference) -> list[str]:
    """Return the files of the pipeline with ``index`` among ``names``, the index first.

    Plain weights, or those of the variant that ``reference`` wants, such as ``fp16``, for the components that have it.

    Raises:
        DownloadFailed: a component is missing, has no weights in safetensors or not all of them, or needs code of its
            own; or none has the variant.
    """
    listed = {name: _names_in(names, name) for name in components_of(index)}
    wanted = None if reference.wanted == SAFETENSORS else reference.wanted
    _check_components(listed, index, reference)
    _check_variant(wanted, listed.values(), reference)
    variant = wanted or variant_of(listed.values())
    chosen = [INDEX]
    for name, files in listed.items():
        weights = weights_in(files, variant)
        _check_weights(name, files, weights, reference)
        chosen += [f"{name}/{file}" for file in (*_beside(files, weights), *weights)]
    return chosen


def _names_in(names: Collection[str], component: str) -> list[str]:
    folder = f"{component}/"
    inside = (name.removeprefix(folder) for name in names if name.startswith(folder))
    return sorted(name for name in inside if "/" not in name)


def _beside(files: Sequence[str], weights: Sequence[str]) -> list[str]:
    """Return the other files of a component; of the lists of what is in which shard, that of the chosen ones."""
    sharded = {match["variant"] for name in weights if (match := WEIGHTS.match(name)) and match["shards"]}
    found = [name for name in files if name.endswith(BESIDE_WEIGHTS)]
    return [name for name in found if ".index." not in name or _shards_of(name) in sharded]


def _shards_of(index: str) -> str | None:
    """Return of which variant ``index`` lists the shards; empty if it lists those of other weights."""
    match = SHARDS_INDEX.match(index)
    return match["variant"] if match else ""


def _check_components(listed: Mapping[str, Sequence[str]], index: Mapping[str, Any], reference: HubReference) -> None:
    for name, library in components_of(index).items():
        if not listed[name]:
            raise _failed(reference, f"lacks the component {name}, which its {INDEX} names")
        if f"{library}.py" in listed[name]:
            raise _failed(reference, f"has code of its own for the component {name}, which is not run")


def _check_variant(wanted: str | None, components: Collection[Sequence[str]], reference: HubReference) -> None:
    found = {match["variant"] for files in components for name in files if (match := WEIGHTS.match(name)) is not None}
    if wanted is not None and wanted not in found:
        known = ", ".join(sorted(each for each in found if each is not None)) or "none"
        raise _failed(reference, f'has no weights of the variant "{wanted}"; its variants: {known}')


def _check_weights(name: str, files: Sequence[str], weights: Sequence[str], reference: HubReference) -> None:
    others = any(file.endswith(OTHER_WEIGHTS) for file in files)
    if not weights and (others or name.startswith(WITH_WEIGHTS)):
        reason = f": {PICKLED}" if others else ""
        raise _failed(reference, f"has no weights of the component {name} in safetensors{reason}")
    shards = next((int(match["shards"]) for file in weights if (match := WEIGHTS.match(file)) and match["shards"]), 1)
    if weights and len(weights) < shards:
        raise _failed(reference, f"has {len(weights)} of the {shards} files with the weights of the component {name}")


def _failed(reference: HubReference, problem: str) -> DownloadFailed:
    return DownloadFailed(f"{reference.repository} {problem}", repository=reference.repository)

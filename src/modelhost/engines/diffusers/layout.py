"""The layout of a pipeline: ``model_index.json``, and a folder for each component.

https://huggingface.co/docs/diffusers/using-diffusers/other-formats
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

INDEX: Final = "model_index.json"
"""The file of a pipeline that names its class and its components."""
WITH_WEIGHTS: Final = ("text_encoder", "unet", "transformer", "vae", "image_encoder", "safety_checker")
"""The names of components with weights begin with one of these."""
WEIGHTS: Final = re.compile(
    r"^(?:diffusion_pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-\d+-of-(?P<shards>\d+))?\.safetensors$"
)
"""Weights of a component; those of another number format have a variant, such as ``fp16``, in their names."""
SHARDS_INDEX: Final = re.compile(
    r"^(?:diffusion_pytorch_model|model)\.safetensors\.index(?:\.(?P<variant>\w+))?\.json$"
)
"""Which tensor is in which of several files."""


def is_pipeline(names: Collection[str]) -> bool:
    """Whether files of these ``names`` are a pipeline in this layout."""
    return INDEX in names


def components_of(index: Mapping[str, Any]) -> dict[str, str]:
    """Return the components that an index names, each with the library that its class is from."""
    listed = {name: value for name, value in index.items() if isinstance(value, list) and value}
    return {name: str(value[0]) for name, value in listed.items() if value[0] is not None}


def weights_in(names: Iterable[str], variant: str | None = None) -> list[str]:
    """Return which of ``names``, the files of a component, are its weights as they are loaded.

    Those of ``variant`` if there are any, else the plain ones, else those of the first variant.
    """
    found: dict[str | None, list[str]] = {}
    for name in sorted(names):
        if (match := WEIGHTS.match(name)) is not None:
            found.setdefault(match["variant"], []).append(name)
    return found.get(variant) or found.get(None) or next(iter(found.values()), [])


def variant_of(components: Iterable[Iterable[str]]) -> str | None:
    """Return the variant that a pipeline is loaded in, which has ``components`` with files of these names.

    ``None`` if each component has plain weights.
    """
    for names in components:
        found = [match["variant"] for name in sorted(names) if (match := WEIGHTS.match(name)) is not None]
        if found and None not in found:
            return str(found[0])
    return None

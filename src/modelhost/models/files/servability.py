"""Whether an engine serves the model in a directory of safetensors, and with images, as far as its files tell.

The load, the look at models that are not loaded and the inventory all ask here.
"""

from __future__ import annotations

from pathlib import Path

from modelhost.engines import TRAITS
from modelhost.engines.diffusers.layout import INDEX
from modelhost.engines.installed import kind_of
from modelhost.models.files.hf_directory import HfModel


def why_not_served(model: HfModel, directory: Path, engine: str, *, is_in_own_python: bool = True) -> str | None:
    """Return why ``engine`` refuses ``model``, which is in ``directory``, when it is loaded.

    ``None``: the files tell nothing against it; the library may still refuse it. ``is_in_own_python``: the engine is
    in the host's Python, so that its library can be looked at.
    """
    own = kind_of(model.families)
    if own is not None and own[0] == engine:
        return None
    if not model.is_generating:
        if (directory.parent / INDEX).is_file():
            return f"{directory} is a component of the pipeline {directory.parent}, which diffusers serves as a whole"
        return (
            f"{directory} is a {model.architecture}, which writes no text: {engine} serves models that do; llama.cpp "
            "serves embedding models in GGUF"
        )
    if not model.has_tokenizer:
        return (
            f"{directory} lacks the files of its tokenizer: neither tokenizer.json nor another file with a vocabulary "
            "(tokenizer.model, vocab.json, vocab.txt) is there: download the directory again, with all of its files"
        )
    if not is_in_own_python or model.model_type is None or model.has_own_code:
        return None
    reason = TRAITS[engine].why_not_loaded(model.model_type)
    return None if reason is None else f"{directory} cannot be served: {reason}"


def takes_images(model: HfModel, engine: str) -> bool:
    """Whether ``engine`` takes images with ``model``; where the engine does not say, whether the model is for them."""
    types = TRAITS[engine].vision_types
    is_of_kind = model.can_see if types is None else model.model_type in types
    return is_of_kind and model.has_image_processor

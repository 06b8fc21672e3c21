"""Which file of a hub repository to serve. Pure: a listing in, the files of one model out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from modelhost.engines.diffusers.layout import INDEX as PIPELINE
from modelhost.engines.transformers.layout import PRESET_FILES, VOICE_PRESETS
from modelhost.errors import DownloadFailed
from modelhost.models.files import model_files
from modelhost.models.files.hf_directory import CONFIG, is_hf_directory
from modelhost.models.files.media_encoder import matching_encoder
from modelhost.models.hub.pipeline_files import pipeline_names
from modelhost.models.hub.references import HubReference

PREFERRED = (
    *("Q4_K_M", "Q4_0", "Q5_K_M", "Q8_0", "Q4_K_S", "Q4_K_XL", "Q5_K_S", "Q5_0", "Q6_K", "IQ4_XS", "IQ4_NL"),
    *("MXFP4", "Q4_1", "Q5_1", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "BF16", "F16", "F32"),
)
"""Without a requested quantization: the best size for its quality first, then better ones, then smaller and larger."""


Format = Literal["gguf", "safetensors", "pipeline"]

FORMATS: Final[Mapping[str, Format]] = {CONFIG: "safetensors", PIPELINE: "pipeline"}
"""The formats of models that are a directory, by the first of their files."""
WEIGHTS = ".safetensors"
_DRAFT = re.compile(r"(?:^|[-._/])(?:mtp|nextn|draft|eagle\d*)(?:[-._/]|$)", re.IGNORECASE)
"""In the names of draft models, and of models that contain one."""
BESIDE_WEIGHTS = (".json", ".jinja", ".model", ".txt", ".tiktoken", ".py")
"""Suffixes of the files of a model directory besides its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository. ``sha256`` is known of large files (LFS); ``blob`` names the content in the cache."""

    name: str
    size_bytes: int
    sha256: str | None
    blob: str


def index_of(listing: Sequence[HubFile], reference: HubReference) -> HubFile | None:
    """Return the file that says which others are the model; ``None`` if their names say so."""
    if (reference.wanted or "").lower().endswith(".gguf"):
        return None
    return next((file for file in listing if file.name == PIPELINE), None)


def choose_files(
    listing: Sequence[HubFile], reference: HubReference, index: Mapping[str, Any] | None = None
) -> list[HubFile]:
    """Return the files of the model that ``reference`` wants: all parts in order, then its vision encoder, if any.

    Of a model in safetensors that is the directory, ``config.json`` first; of a pipeline, whose ``index`` is the JSON
    in :func:`index_of`, that one first.

    Raises:
        DownloadFailed: nothing matches, several do, or a part is missing.
    """
    by_name = {file.name: file for file in listing}
    if index is not None:
        return [by_name[name] for name in pipeline_names(by_name, index, reference)]
    models = model_files.servable_models(list(by_name))
    if reference.wanted == model_files.SAFETENSORS or (reference.wanted or "").endswith(WEIGHTS) or not models:
        return [by_name[name] for name in _directory_files(list(by_name), reference)]
    name = _choose(models, reference)
    parts = model_files.part_names(name.rsplit("/", 1)[-1])
    names = [name[: len(name) - len(parts[0])] + part for part in parts]
    missing = [part for part in names if part not in by_name]
    if missing:
        raise DownloadFailed(
            f"{reference.repository} lacks parts of {name}: {', '.join(missing)}; choose another file: {_list(models)}"
        )
    return [by_name[part] for part in (*names, *_encoder(name, list(by_name)))]


def _encoder(model: str, names: Sequence[str]) -> list[str]:
    """Return the vision encoder of the model that begins with the file ``model``: of the files beside it."""
    folder = model[: len(model) - len(model.rsplit("/", 1)[-1])]
    beside = [name[len(folder) :] for name in names if name.startswith(folder) and "/" not in name[len(folder) :]]
    found = matching_encoder(model[len(folder) :], beside)
    return [folder + found] if found else []


def format_of(chosen: Sequence[HubFile]) -> Format:
    """Return the format of a model whose files :func:`choose_files` has chosen."""
    return FORMATS.get(chosen[0].name, "gguf")


def is_needed(file: HubFile) -> bool:
    """Whether a model cannot be served without ``file``, one of those chosen for it."""
    return model_files.MMPROJ not in file.name.rsplit("/", 1)[-1].lower()


def _choose(models: list[str], reference: HubReference) -> str:
    wanted = reference.wanted
    if wanted is not None:
        folder, slash, file = wanted.rpartition("/")
        path = folder + slash + model_files.part_names(file)[0]  # a later part of a split model means the model
        matching = [name for name in models if name == path]
        matching = matching or [name for name in models if name.rsplit("/", 1)[-1] == path]
        matching = matching or _plain([name for name in models if _has_quantization(name, wanted)], wanted)
        return _only(matching, models, reference, f"{wanted!r}")
    if len(models) == 1:
        return models[0]
    for quantization in PREFERRED:
        matching = _plain([name for name in models if _has_quantization(name, quantization)], quantization)
        if matching:
            return _only(matching, models, reference, quantization)
    return _only(_plain(models, ""), models, reference, "the model")


def _plain(names: list[str], quantization: str) -> list[str]:
    """Return those of ``names`` that are the model itself, where others are variants: drafts, or more in the name."""
    ending = [name for name in names if model_files.stem(name).lower().endswith(quantization.lower())] or names
    return [name for name in ending if _DRAFT.search(name) is None] or ending


def _only(matching: list[str], models: list[str], reference: HubReference, what: str) -> str:
    """Return the one that matches; none or several are an error that lists them."""
    if len(matching) == 1:
        return matching[0]
    if matching:
        reason = f"{what} fits several files of {reference.repository}: {_list(matching)}"
    else:
        reason = f"{reference.repository} has no {what}; it has {_list(models)}"
    raise DownloadFailed(
        f"{reason}. Name one of them: {reference.repository}:FILE",
        repository=reference.repository,
        files=matching or models,
    )


def _has_quantization(name: str, quantization: str) -> bool:
    pattern = rf"(?:^|[-._/]){re.escape(quantization)}(?:$|[-./])"
    return re.search(pattern, re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE), re.IGNORECASE) is not None


def _directory_files(names: list[str], reference: HubReference) -> list[str]:
    """Return the files of a model directory: configuration, tokenizer, weights; of its subfolders the voices of a Bark
    alone."""
    top = [name for name in names if "/" not in name]
    if is_hf_directory(set(top)):
        weights = [name for name in top if name.endswith(WEIGHTS)]
        of_model = [name for name in weights if name.startswith("model")] or weights
        beside = [name for name in top if name.endswith(BESIDE_WEIGHTS) and name != CONFIG]
        voices = [name for name in names if name.endswith(PRESET_FILES)] if VOICE_PRESETS in top else []
        return [CONFIG, *sorted(beside), *sorted(voices), *sorted(of_model)]
    if models := model_files.servable_models(names):
        reason = f"has no safetensors, only GGUF: leave engine out, or name a file: {_list(models)}"
    elif any(name.endswith(model_files.WEIGHTS_SUFFIXES) for name in names):
        reason = f"holds no model in GGUF or safetensors: {model_files.PICKLED}"
    else:
        reason = f"holds no model in GGUF or safetensors; it holds {_list(sorted(names))}"
    raise DownloadFailed(f"{reference.repository} {reason}", repository=reference.repository)


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:30]) or "no files"
    return f"{shown} and {len(names) - 30} more" if len(names) > 30 else shown

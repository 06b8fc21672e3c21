"""Which file of a hub repository to serve. Pure: a listing in, the files of one model out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelhost.errors import DownloadFailed, EngineMissing
from modelhost.models.hub_reference import HubReference
from modelhost.models.locate import OTHER_ENGINES, WEIGHTS_SUFFIXES, servable_models
from modelhost.models.split_files import part_names

PREFERRED = (
    *("Q4_K_M", "Q4_0", "Q5_K_M", "Q8_0", "Q4_K_S", "Q4_K_XL", "Q5_K_S", "Q5_0", "Q6_K", "IQ4_XS", "IQ4_NL"),
    *("MXFP4", "Q4_1", "Q5_1", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "BF16", "F16", "F32"),
)
"""Without a wish: a good size for its quality first, then what is better, then what is smaller or larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository. ``sha256`` is known of large files (LFS); ``blob`` names the content in the cache."""

    name: str
    size_bytes: int
    sha256: str | None
    blob: str


def choose_files(listing: Sequence[HubFile], reference: HubReference) -> list[HubFile]:
    """Return the files of the model that ``reference`` wants, all parts in order.

    Raises:
        DownloadFailed: nothing matches, several do, or a part is missing.
        EngineMissing: the repository has weights, but none in GGUF.
    """
    by_name = {file.name: file for file in listing}
    models = servable_models(list(by_name))
    if not models:
        raise _no_gguf(list(by_name), reference)
    name = _choose(models, reference)
    parts = part_names(name.rsplit("/", 1)[-1])
    names = [name[: len(name) - len(parts[0])] + part for part in parts]
    missing = [part for part in names if part not in by_name]
    if missing:
        raise DownloadFailed(
            f"{reference.repository} lacks parts of {name}: {', '.join(missing)}; choose another file: {_list(models)}"
        )
    return [by_name[part] for part in names]


def _choose(models: list[str], reference: HubReference) -> str:
    wanted = reference.wanted
    if wanted is not None:
        matching = [name for name in models if wanted in {name, name.rsplit("/", 1)[-1]}]
        matching = matching or [name for name in models if _has_quantization(name, wanted)]
        return _only(matching, models, reference, f"{wanted!r}")
    if len(models) == 1:
        return models[0]
    for quantization in PREFERRED:
        matching = [name for name in models if _has_quantization(name, quantization)]
        if matching:
            return _only(matching, models, reference, quantization)
    return _only(models, models, reference, "the model")


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


def _no_gguf(names: list[str], reference: HubReference) -> DownloadFailed | EngineMissing:
    if any(name.endswith(WEIGHTS_SUFFIXES) for name in names):
        return EngineMissing(
            f"{reference.repository} has no GGUF file: {OTHER_ENGINES}", repository=reference.repository
        )
    return DownloadFailed(
        f"{reference.repository} holds no model in GGUF; it holds {_list(sorted(names))}",
        repository=reference.repository,
    )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:30]) or "no files"
    return f"{shown} and {len(names) - 30} more" if len(names) > 30 else shown

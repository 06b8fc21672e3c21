"""The files of a model on disk: what their names say, and whether they have changed since they were read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")

MMPROJ = "mmproj"
"""Part of the names of files with the part of a model that sees."""

SAFETENSORS = "safetensors"
"""What is wanted of a repository on the hub, where it is not a GGUF file."""

WHOLE_DIRECTORY = "a model in safetensors is served as a whole: give the directory with its config.json"

PICKLED = (
    "weights in PyTorch's own format may run code while they are loaded, so they are not served: take the model in "
    "safetensors or in GGUF"
)

_SPLIT_NAME = re.compile(r"^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)


def part_number(name: str) -> int | None:
    """Return the number of the part that the file ``name`` is, from 1 on, or ``None`` if it is a whole model."""
    match = _match(name)
    return int(match["part"]) if match else None


def part_names(name: str) -> list[str]:
    """Return the names of all parts of the set to which ``name`` belongs; of a whole model its own."""
    match = _match(name)
    if match is None:
        return [name]
    suffix = name[-len(".gguf") :]
    return [f"{match['stem']}-{part:05d}-of-{match['count']}{suffix}" for part in range(1, int(match["count"]) + 1)]


def stem(name: str) -> str:
    """Return ``name`` without its part number and ``.gguf``."""
    match = _match(name)
    if match is not None:
        return match["stem"]
    return name[: -len(".gguf")] if name.lower().endswith(".gguf") else name


def _match(name: str) -> re.Match[str] | None:
    match = _SPLIT_NAME.match(name)
    return match if match and 1 <= int(match["part"]) <= int(match["count"]) else None


def servable_models(names: list[str]) -> list[str]:
    """Return the names that are models by themselves: no projectors, no importance matrices, first parts only."""
    return sorted(
        name
        for name in names
        if name.lower().endswith(".gguf")
        and (part_number(name) or 1) == 1
        and not any(word in name.rsplit("/", 1)[-1].lower() for word in (MMPROJ, "imatrix"))
    )


Stamp = tuple[int, int]
"""The size of a file, and when it was written last, in nanoseconds."""
Stamps = Mapping[Path, Stamp | None]
"""By path; ``None`` where there is nothing."""


def stamps_of(paths: Iterable[Path]) -> Stamps:
    """Return the size and time of the files at ``paths``, by which changes are recognised; links are followed."""
    return {path: _stamp(path) for path in paths}


def are_unchanged(stamps: Stamps) -> bool:
    return all(_stamp(path) == stamp for path, stamp in stamps.items())


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns

"""A pipeline in the layout of diffusers: ``model_index.json``, and a folder for each component.

https://huggingface.co/docs/diffusers/using-diffusers/loading
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from modelhost.engines.diffusers.layout import INDEX, WITH_WEIGHTS, components_of, variant_of, weights_in
from modelhost.errors import ModelFileMissing
from modelhost.models.files.directory_needs import CUDA_CONTEXT_BYTES, CUDA_PROCESS_BYTES
from modelhost.models.files.hf_directory import Weights, invalid, read_weights
from modelhost.models.files.memory_pools import RAM, Bytes

FULL_SIZE_TENSORS: Final = 6
"""Tensors of a picture's full size that decoding holds at the same time, with the channels of the last block."""
WIDTHS: Final[Mapping[str, int]] = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What the files of a pipeline say of it."""

    kind: str
    """The name of its class."""
    weights: Weights
    files: tuple[Path, ...]
    """Those of the weights."""
    decoded_elements: int
    """Numbers in a tensor of a picture's full size while it is decoded."""


def is_pipeline(directory: Path) -> bool:
    return (directory / INDEX).is_file()


def read_pipeline(directory: Path) -> Pipeline:
    """Return what the files in ``directory`` say, without loading the weights.

    Raises:
        ModelFileMissing: a component is missing.
        ModelFileInvalid: a file is damaged, or the pipeline needs code of its own.
    """
    index = _json(directory / INDEX)
    kind = index.get("_class_name")
    if not isinstance(kind, str):
        raise invalid(directory / INDEX, "it names no class that diffusers has")
    components = components_of(index)
    for name, library in components.items():
        if (directory / name / f"{library}.py").is_file():
            raise invalid(directory / INDEX, f"the component {name} needs code of its own, which is not run")
    listed = {name: _names_in(directory, name) for name in components}
    variant = variant_of(listed.values())
    files = [path for name, names in listed.items() for path in _weights_of(directory / name, names, variant)]
    parts = [read_weights(path) for path in files]
    vae = _json(directory / "vae" / "config.json") if (directory / "vae").is_dir() else {}
    return Pipeline(
        kind=kind, weights=Weights.together(parts), files=tuple(files), decoded_elements=_decoded_elements(vae)
    )


def pipeline_need(pipeline: Pipeline, *, process_bytes: int, options: Mapping[str, Any], gpus: Sequence[int]) -> Bytes:
    """Return the estimated bytes by pool: the process, the weights in the format of the computation, and decoding.

    With ``offload``, a GPU has a part of the weights at a time, and main memory all of them.
    """
    on_gpu = bool(gpus) and options.get("device", "auto") in ("auto", "cuda")
    dtype = options.get("dtype", "auto")
    width = WIDTHS.get(dtype, 2 if on_gpu else 4)
    weights = pipeline.weights.parameters * width
    decoding = pipeline.decoded_elements * width * (1 if options.get("tiling") else FULL_SIZE_TENSORS)
    if not on_gpu:
        return {RAM: process_bytes + weights + decoding}
    is_offloaded = options.get("offload", "none") != "none"
    components: Counter[Path] = Counter()
    for file in pipeline.files:
        components[file.parent] += read_weights(file).parameters
    largest = max(components.values(), default=0) * width
    return {
        RAM: process_bytes + CUDA_PROCESS_BYTES + (weights if is_offloaded else 0),
        f"gpu:{gpus[0]}": CUDA_CONTEXT_BYTES + (largest if is_offloaded else weights) + decoding,
    }


def _names_in(directory: Path, name: str) -> list[str]:
    folder = directory / name
    if not folder.is_dir():
        raise ModelFileMissing(
            f"{directory}: the component {name} is missing, which {INDEX} names: download the model again",
            path=str(folder),
        )
    return [file.name for file in folder.iterdir()]


def _weights_of(folder: Path, names: Sequence[str], variant: str | None) -> list[Path]:
    found = weights_in(names, variant)
    if not found and folder.name.startswith(WITH_WEIGHTS):
        raise ModelFileMissing(
            f"{folder} holds no weights in safetensors: download the model again, with its *.safetensors",
            path=str(folder),
        )
    return [folder / each for each in found]


def _decoded_elements(vae: Mapping[str, Any]) -> int:
    blocks, side = vae.get("block_out_channels"), vae.get("sample_size")
    if not isinstance(blocks, list) or not blocks or not isinstance(side, int):
        return 0
    return int(blocks[0]) * side * side


def _json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelFileMissing(f"{path} is missing: download the model again", path=str(path)) from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise invalid(path, f"it cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise invalid(path, "it is no JSON object")
    return value

"""Models in directories of a layout that only one engine reads: pipelines, voices in ONNX, Whisper for CTranslate2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelhost.engines import TRAITS
from modelhost.models.files.memory_pools import RAM, Bytes
from modelhost.models.files.pipeline import is_pipeline, pipeline_need, read_pipeline
from modelhost.models.resolve.companion_files import bytes_of

FACTOR: Final = 2
"""Memory of such a model before it is measured, as a multiple of its files; of pipelines, more is known."""


def layout_files(directory: Path) -> list[Path]:
    """Return the files with the model; raises ModelFileMissing and ModelFileInvalid as :func:`read_pipeline` does."""
    if is_pipeline(directory):
        return list(read_pipeline(directory).files)
    return [path for path in directory.iterdir() if path.is_file()]


def layout_need(directory: Path, engine: str, options: Mapping[str, Any], gpus: Sequence[int] = ()) -> Bytes:
    """Return the estimated bytes by pool; raises as :func:`layout_files` does."""
    process_bytes = TRAITS[engine].process_bytes
    if is_pipeline(directory):
        return pipeline_need(read_pipeline(directory), process_bytes=process_bytes, options=options, gpus=gpus)
    return {RAM: process_bytes + FACTOR * bytes_of(layout_files(directory))}

"""Directories of safetensors that look like models and cannot be served, or only in part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.nano_hf import NANO_HF


def copy_of_nano(folder: Path, **config: Any) -> Path:
    """Copy the bundled model as a directory to ``folder``, with other values in its ``config.json``."""
    shutil.copytree(NANO_HF, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def write_seeing(folder: Path, model_type: str = "llava", *, has_processor: bool = True) -> Path:
    """Write what says that it is a model for images of the kind ``model_type``."""
    copy_of_nano(
        folder, model_type=model_type, architectures=["LlavaForConditionalGeneration"], vision_config={"image_size": 24}
    )
    if has_processor:
        (folder / "processor_config.json").write_text("{}")
    return folder


def without_tokenizer(folder: Path) -> Path:
    copy_of_nano(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return folder


def without_weights(folder: Path) -> Path:
    copy_of_nano(folder)
    for path in folder.iterdir():
        if path.name != "config.json":
            path.unlink()
    return folder


def with_directory_as_config(folder: Path) -> Path:
    copy_of_nano(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    return folder


def with_pickled_weights(folder: Path) -> Path:
    without_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(bytes(100))
    return folder


UNSERVABLE: Final[dict[str, tuple[Callable[[Path], Path], str]]] = {
    "other-images": (lambda folder: write_seeing(folder, "qwen2_vl"), "models for images of the kind qwen2_vl"),
    "unknown": (lambda folder: copy_of_nano(folder, model_type="frobnicate"), "does not know models of the kind frobn"),
    "no-text": (lambda folder: copy_of_nano(folder, model_type="t5"), "no models of the kind t5 that write text"),
    "vectors": (lambda folder: copy_of_nano(folder, architectures=["BertModel"]), "BertModel, which writes no text"),
    "no-tokenizer": (without_tokenizer, "lacks the files of its tokenizer: neither tokenizer.json nor"),
    "no-weights": (without_weights, "holds no GGUF file and no safetensors"),
    "pickled": (with_pickled_weights, "weights in PyTorch's own format"),
    "odd-config": (with_directory_as_config, "config.json cannot be read: Is a directory"),
}
"""By name: what writes one, and how the refusal is worded."""

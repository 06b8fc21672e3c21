"""Pipelines of diffusers on disk: what their files say, what is missing, and the memory that they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelhost.config.settings import Settings
from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.models.files.pipeline import FULL_SIZE_TENSORS, pipeline_need, read_pipeline
from modelhost.models.resolve.locate import locate
from modelhost.models.resolve.resolve import resolve
from modelhost.models.resolve.resolved import Resolved

PARTS = {
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
}
PARAMETERS = 100
PROCESS = 1_000


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    write_index(folder, **PARTS)
    for name in PARTS.keys() - {"safety_checker"}:
        (folder / name).mkdir()
    for name in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
        weights(folder / f"{name}.safetensors")
    (folder / "vae" / "config.json").write_text(json.dumps({"block_out_channels": [8, 16], "sample_size": 64}))
    return folder


def write_index(folder: Path, **parts: Any) -> None:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **parts}))


def weights(path: Path, dtype: Any = np.float16) -> None:
    save_file({"weight": np.zeros(PARAMETERS, dtype)}, path)


def need(folder: Path, gpus: tuple[int, ...] = (), **options: Any) -> dict[str, int]:
    return dict(pipeline_need(read_pipeline(folder), process_bytes=PROCESS, options=options, gpus=gpus))


def resolved(folder: Path) -> Resolved:
    """The model in ``folder``, whatever Python its worker has."""
    return resolve(Settings(model=str(folder), worker_python="python"))


def test_the_need_is_the_weights_as_they_are_computed_with_and_a_picture_that_is_decoded(pipeline: Path) -> None:
    found = read_pipeline(pipeline)
    assert (found.kind, found.weights.parameters, len(found.files)) == ("StableDiffusionPipeline", 3 * PARAMETERS, 3)
    decoded = 8 * 64 * 64
    assert need(pipeline) == {"ram": PROCESS + 4 * (3 * PARAMETERS + FULL_SIZE_TENSORS * decoded)}
    assert need(pipeline, dtype="bfloat16", tiling=True) == {"ram": PROCESS + 2 * (3 * PARAMETERS + decoded)}


def test_on_a_gpu_the_weights_are_there_or_a_component_at_a_time(pipeline: Path) -> None:
    whole, part = need(pipeline, gpus=(1,)), need(pipeline, gpus=(1,), offload="model")
    assert whole.keys() == part.keys() == {"ram", "gpu:1"}
    assert whole["gpu:1"] - part["gpu:1"] == part["ram"] - whole["ram"] - 2 * PARAMETERS == 2 * 2 * PARAMETERS
    assert need(pipeline, gpus=(1,), device="cpu").keys() == {"ram"}


def test_weights_of_another_variant_count_where_there_are_no_others(pipeline: Path) -> None:
    weights(pipeline / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").rename(
        pipeline / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    )
    assert read_pipeline(pipeline).weights.parameters == 3 * PARAMETERS


def test_the_model_is_found_with_its_size_and_its_need(pipeline: Path) -> None:
    located = locate(str(pipeline))
    assert (located.kind, located.engine, located.name) == ("layout", "diffusers", "pipeline")
    found = resolved(pipeline)
    assert found.size_bytes == sum(file.stat().st_size for file in read_pipeline(pipeline).files)
    assert found.need_bytes["ram"] > need(pipeline)["ram"]
    before = found.stamps
    weights(pipeline / "unet" / "diffusion_pytorch_model.safetensors", np.float32)
    assert resolved(pipeline).stamps != before


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda folder: (folder / "scheduler").rmdir(), ModelFileMissing, "the component scheduler is missing"),
        (
            lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
            ModelFileMissing,
            "holds no weights in safetensors",
        ),
        (
            lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights"),
            ModelFileInvalid,
            "cannot be used",
        ),
        (lambda folder: (folder / "model_index.json").write_text("{"), ModelFileInvalid, "cannot be read"),
        (lambda folder: (folder / "model_index.json").write_text("[]"), ModelFileInvalid, "no JSON object"),
        (lambda folder: write_index(folder, _class_name=["own", "Own"]), ModelFileInvalid, "names no class"),
        (lambda folder: (folder / "vae" / "config.json").unlink(), ModelFileMissing, "config.json is missing"),
        (lambda folder: (folder / "unet" / "diffusers.py").touch(), ModelFileInvalid, "code of its own"),
    ],
)
def test_what_is_missing_or_damaged_is_named_before_anything_is_loaded(
    change: Any, error: type[Exception], says: str, pipeline: Path
) -> None:
    change(pipeline)
    with pytest.raises(error, match=says):
        resolved(pipeline)

"""Pipelines of diffusers on the hub: which files are downloaded, from the stand-in, and what is known of them then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError, DownloadFailed, EngineMissing, SetupError
from modelhost.models.hub.references import HubReference
from modelhost.models.hub.repository_files import HubFile, choose_files, format_of
from modelhost.models.resolve.finding import find_with_progress, pull
from modelhost.models.resolve.locate import single_entry
from modelhost.models.resolve.resolve import files_here
from modelhost.models.resolve.resolved import Resolved
from tests.support.engine_environments import pretend_installed
from tests.support.hub import HubServer, Repository, hub_of_this_process

MODEL = "somebody/painter"
INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.35.0",
    "force_zeros_for_empty_prompt": True,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
CONFIGURATION = (
    *("scheduler/scheduler_config.json", "text_encoder/config.json", "unet/config.json", "vae/config.json"),
    *("tokenizer/merges.txt", "tokenizer/vocab.json", "tokenizer/special_tokens_map.json"),
)
SHARDS = tuple(f"unet/diffusion_pytorch_model-0000{part}-of-00002.safetensors" for part in (1, 2))
SHARDS_INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"
PLAIN = ("text_encoder/model.safetensors", *SHARDS, SHARDS_INDEX, "vae/diffusion_pytorch_model.safetensors")
HALF = (
    *("text_encoder/model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"),
    "vae/diffusion_pytorch_model.fp16.safetensors",
)
OTHERS = (
    *("README.md", "painter.safetensors", "painter.ckpt", "sample.png", "model.onnx", "pipeline.py"),
    *("text_encoder/pytorch_model.bin", "text_encoder/model.onnx", "text_encoder/flax_model.msgpack"),
    *("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.bin", "unet/openvino_model.xml"),
    *("unet/diffusion_pytorch_model.non_ema.safetensors", "vae_1_0/diffusion_pytorch_model.safetensors"),
    *("vae_1_0/config.json", "vae_decoder/model.onnx", "unet/old/diffusion_pytorch_model.safetensors"),
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
)
PARAMETERS = 100


def chosen(names: tuple[str, ...], wanted: str | None = None, index: dict[str, Any] = INDEX) -> list[str]:
    listing = [HubFile(name=name, size_bytes=1, sha256=None, blob="0" * 40) for name in ("model_index.json", *names)]
    files = choose_files(listing, HubReference(repository=MODEL, wanted=wanted), index)
    assert (files[0].name, format_of(files)) == ("model_index.json", "pipeline")
    return sorted(file.name for file in files[1:])


def test_plain_weights_in_safetensors_are_chosen_and_nothing_twice() -> None:
    expected = sorted([*CONFIGURATION, *PLAIN])
    assert chosen((*CONFIGURATION, *PLAIN, *HALF, *OTHERS)) == expected
    assert chosen((*CONFIGURATION, *PLAIN, *HALF, *OTHERS), "safetensors") == expected


def test_a_variant_is_chosen_where_it_is_wanted_or_all_there_is() -> None:
    expected = sorted([*CONFIGURATION, *HALF])
    assert chosen((*CONFIGURATION, *PLAIN, *HALF, *OTHERS), "fp16") == expected
    assert chosen((*CONFIGURATION, *HALF)) == expected
    # The text encoder has no such weights, and comes as it is.
    without = [name for name in HALF if not name.startswith("text")]
    mixed = chosen((*CONFIGURATION, *PLAIN, *without), "fp16")
    assert mixed == sorted([*CONFIGURATION, "text_encoder/model.safetensors", *without])


@pytest.mark.parametrize(
    ("names", "wanted", "changed", "says"),
    [
        ((*CONFIGURATION, *PLAIN), "bf16", {}, 'no weights of the variant "bf16"; its variants: none'),
        ((*CONFIGURATION, *PLAIN, *HALF), "Q4_0", {}, "its variants: fp16"),
        ((*CONFIGURATION, *PLAIN), None, {"image_encoder": ["transformers", "X"]}, "lacks the component image_encoder"),
        ((*CONFIGURATION, *PLAIN[1:]), None, {}, "no weights of the component text_encoder in safetensors$"),
        ((*CONFIGURATION, "vae/model.bin", *PLAIN[:-1]), None, {}, "component vae in safetensors: .* may run code"),
        ((*CONFIGURATION, PLAIN[0], PLAIN[-1], SHARDS[1]), None, {}, "has 1 of the 2 files .* unet"),
        ((*CONFIGURATION, *PLAIN, "unet/own.py"), None, {"unet": ["own", "Unet"]}, "code of its own for .* unet"),
    ],
)
def test_what_cannot_be_loaded_is_not_downloaded(
    names: tuple[str, ...], wanted: str | None, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(DownloadFailed, match=says):
        chosen(names, wanted, INDEX | changed)


def content_of(name: str) -> bytes:
    if name.endswith(".safetensors"):
        return save({name: np.zeros(PARAMETERS, np.float16)})
    config = {"block_out_channels": [8], "sample_size": 4} if name == "vae/config.json" else {}
    return json.dumps(config).encode() if name.endswith(".json") else name.encode()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with the pipeline, and a machine without engines in its Python."""
    monkeypatch.setattr("modelhost.engines.installed.find_spec", lambda _: None)
    files = {name: content_of(name) for name in (*CONFIGURATION, *PLAIN, *HALF, *OTHERS)}
    files["model_index.json"] = json.dumps(INDEX).encode()
    with hub_of_this_process(monkeypatch, tmp_path / "hub", **{MODEL: Repository(files=files)}) as server:
        yield server


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where the engine is installed."""
    pretend_installed(tmp_path / "data", "diffusers")
    return tmp_path / "data"


async def found(data_dir: Path, model: str = MODEL, **settings: Any) -> Resolved:
    given = Settings(model=model, data_dir=str(data_dir), threads=1, **settings)
    return await find_with_progress(single_entry(given), None)


async def test_a_pipeline_is_pulled_and_then_served_without_the_network(hub: HubServer, data_dir: Path) -> None:
    settings = Settings(model=MODEL, data_dir=str(data_dir))
    assert files_here(settings) is None
    folder = await pull(MODEL, settings, revision=None, on_progress=lambda _: None)
    there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert there == sorted(["model_index.json", *CONFIGURATION, *PLAIN])
    before = hub.request_count
    resolved = await found(data_dir)
    located = files_here(settings)
    assert located is not None
    assert (located.kind, located.engine, located.name, located.path) == ("layout", "diffusers", MODEL, folder)
    assert (resolved.engine.name, resolved.spec.path) == ("diffusers", folder)
    assert hub.request_count == before


async def test_its_need_is_estimated_from_the_headers_of_what_came(hub: HubServer, data_dir: Path) -> None:
    half = await found(data_dir, f"{MODEL}:fp16")
    plain = await found(data_dir)
    assert plain.size_bytes > half.size_bytes > 3 * PARAMETERS * 2
    assert plain.need_bytes["ram"] - half.need_bytes["ram"] == PARAMETERS * 4  # the second shard
    assert hub.bytes_served < sum(len(content) for content in hub.repositories[MODEL].files.values())


async def test_an_engine_that_is_not_there_or_another_one_downloads_no_weights(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match="modelhost engines install diffusers"):
        await found(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"^somebody/painter is a pipeline for diffusers: leave engine out"):
        await found(tmp_path / "empty", engine="llamacpp")
    asked = partial(pull, MODEL, Settings(data_dir=str(tmp_path / "empty")), revision=None)
    with pytest.raises(EngineMissing, match="modelhost engines install diffusers"):
        await asked(on_progress=lambda _: None)
    assert hub.bytes_served < 4 * len(hub.repositories[MODEL].files["model_index.json"])


@pytest.mark.parametrize("index", [b"{", b"[]"])
async def test_a_damaged_index_is_an_error_that_names_it(index: bytes, hub: HubServer, data_dir: Path) -> None:
    hub.repositories[MODEL].files["model_index.json"] = index
    with pytest.raises(SetupError, match=r"somebody/painter: its model_index\.json is damaged"):
        await found(data_dir)

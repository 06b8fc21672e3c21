"""The engine for images: what it recognises, its options, its refusals, and what it checks before it works."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelhost.engines import ENGINES
from modelhost.engines.diffusers.engine import OPTIONS
from modelhost.engines.diffusers.layout import variant_of, weights_in
from modelhost.engines.diffusers.orders import Abilities, abilities_of, check_prompts, checked
from modelhost.engines.installed import engine_with_layout
from modelhost.engines.launch import ModelSpec
from modelhost.engines.worker.asgi import ErrorResponse
from modelhost.errors import (
    ConfigError,
    ContextLengthExceeded,
    InsufficientMemory,
    InvalidImage,
    ModelhostError,
    RequestTooLarge,
)

DIFFUSERS = ENGINES["diffusers"]


class Tokenizer:
    model_max_length = 77

    def __call__(self, text: str, *, truncation: bool) -> dict[str, list[int]]:
        assert not truncation
        return {"input_ids": [1] * len(text.split())}


class StableDiffusion:
    """What is known of a pipeline without its library."""

    vae_scale_factor = 8
    unet = SimpleNamespace(config=SimpleNamespace(sample_size=64))
    tokenizer = Tokenizer()

    def __call__(
        self,
        *,
        prompt: str,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | None = None,
    ) -> None: ...


class Flux:
    """The same, of one whose guidance is part of the model, with a second encoder."""

    vae_scale_factor = 8
    default_sample_size = 128
    transformer = object()
    tokenizer, tokenizer_2 = Tokenizer(), Tokenizer()
    text_encoder_2 = object()

    def __call__(  # noqa: PLR0913 (as there)
        self,
        *,
        prompt: str,
        negative_prompt: str | None = None,
        true_cfg_scale: float = 1.0,
        num_inference_steps: int = 28,
        guidance_scale: float = 3.5,
        max_sequence_length: int = 512,
    ) -> None: ...


def abilities(**options: Any) -> Abilities:
    return abilities_of(StableDiffusion(), {**OPTIONS, **options})


def test_a_pipeline_is_known_by_its_index() -> None:
    assert engine_with_layout(["model_index.json", "unet", "vae"]) == "diffusers"
    assert engine_with_layout(["config.json", "model.safetensors"]) is None


def test_it_is_launched_with_its_options() -> None:
    launch = DIFFUSERS.launch(ModelSpec(name="p", path=Path("/models/p"), threads=2, options={"steps": 20}), "key")
    assert launch.config == {
        **OPTIONS, "steps": 20, "name": "p", "path": "/models/p", "api_key": "key", "threads": 2,
    }  # fmt: skip
    assert launch.env["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "int8"},
        {"device": "tpu"},
        {"offload": "disk"},
        {"offload": "model", "device": "cpu"},
        {"max_steps": 0},
        {"max_pixels": 1},
        {"steps": 0},
        {"steps": 1.5},
        {"steps": 200},
        {"guidance": -1},
        {"guidance": "much"},
        {"lora": {}},
        {"lora": {"a.safetensors": "x"}},
        {"lora": 5},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        DIFFUSERS.launch(ModelSpec(name="p", options=options), "key")
    assert DIFFUSERS.accept({"engine_options": options}).problems


@pytest.mark.parametrize("lora", ["style.safetensors", {"a.safetensors": 0.5, "b.safetensors": 1}])
def test_adapters_are_files_with_weights(lora: Any) -> None:
    assert DIFFUSERS.launch(ModelSpec(name="p", options={"lora": lora}), "key").config["lora"] == lora


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("invalid_image", InvalidImage),
        ("image_too_large", RequestTooLarge),
        ("prompt_too_long", ContextLengthExceeded),
        ("out_of_memory", InsufficientMemory),
    ],
)
def test_what_the_worker_refuses_has_a_code(kind: str, error: type[ModelhostError]) -> None:
    payload = {"error": {"message": "no", "type": kind, "param": "prompt"}}
    found = DIFFUSERS.translate_error(400, payload, model="p", worker="p/1")
    assert (type(found), found.message) == (error, "no")
    advice = 'Shorten "prompt".' if kind == "prompt_too_long" else None  # not about a context, which there is none of
    assert found.details.get("suggestion") == advice


def test_a_request_without_numbers_gets_those_of_the_pipeline_or_of_the_options() -> None:
    can = abilities()
    assert (can.size, can.multiple, can.prompt_tokens) == ((512, 512), 8, 77)
    order = checked({}, can)
    assert (order.size, order.steps, order.guidance) == (None, 50, 7.5)
    order = checked({}, abilities(steps=20, guidance=0))
    assert (order.steps, order.guidance) == (20, 0)
    flux = abilities_of(Flux(), OPTIONS)
    assert (flux.size, flux.multiple, flux.prompt_tokens, flux.has_negative_prompts) == ((1024, 1024), 16, 512, False)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"width": 500, "height": 512}, "size"),
        ({"width": 32, "height": 64}, "size"),
        ({"width": 4096, "height": 4096}, "size"),
        ({"steps": 151}, "steps"),
        ({"negative_prompt": "dogs", "guidance": 1}, "negative_prompt"),
    ],
)
def test_what_the_pipeline_cannot_make_is_refused_before_it_works(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ErrorResponse) as refused:
        checked(body, abilities())
    assert (refused.value.status, refused.value.body["error"]["param"]) == (400, param)


def test_a_pipeline_that_follows_no_negative_prompt_says_so() -> None:
    with pytest.raises(ErrorResponse) as refused:
        checked({"negative_prompt": "dogs"}, abilities_of(Flux(), OPTIONS))
    assert refused.value.body["error"]["type"] == "unsupported_parameter"


def test_prompts_are_counted_and_never_cut() -> None:
    can = abilities()
    assert check_prompts(StableDiffusion(), {"prompt": "a cat", "negative_prompt": "dogs"}, can) == 3
    for name in ("prompt", "negative_prompt"):
        with pytest.raises(ErrorResponse) as refused:
            check_prompts(StableDiffusion(), {"prompt": "a cat", name: "word " * 78}, can)
        assert (refused.value.body["error"]["type"], refused.value.body["error"]["param"]) == ("prompt_too_long", name)


def test_weights_are_plain_where_each_component_has_such() -> None:
    plain, half = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"
    shards = [f"diffusion_pytorch_model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    others = ["config.json", "diffusion_pytorch_model.safetensors.index.json", "model.onnx"]
    assert variant_of([[half], [plain, half], ["scheduler_config.json"]]) == "fp16"
    assert variant_of([[half, *shards], [plain], []]) is None
    assert weights_in([half, *shards, *others]) == shards
    assert weights_in([plain, half, *others], "fp16") == [half]
    assert weights_in([plain], "fp16") == [plain]
    assert weights_in([half]) == [half]
    assert weights_in(["diffusion_pytorch_model.bin", *others]) == []

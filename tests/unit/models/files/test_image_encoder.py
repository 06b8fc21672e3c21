"""The memory for images of models in safetensors, by their configurations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelhost.models.files.directory_needs import directory_need
from modelhost.models.files.hf_directory import HfModel, read_hf_directory
from modelhost.models.files.image_encoder import LIBRARY_BYTES, image_work_bytes
from tests.support.nano_hf import NANO_HF

CLIP = {
    "image_size": 336,
    "patch_size": 14,
    "hidden_size": 1_024,
    "intermediate_size": 4_096,
    "num_hidden_layers": 24,
}
SIGLIP = {**CLIP, "image_size": 364, "hidden_size": 1_152, "intermediate_size": 4_304, "num_hidden_layers": 27}
GRID = [[336, 672], [672, 336], [672, 672], [1008, 336]]


def work(family: str, encoder: dict[str, Any], processor: dict[str, Any] | None = None, **config: Any) -> int:
    """Return what is counted beyond the libraries."""
    return image_work_bytes({"model_type": family, "vision_config": encoder, **config}, processor or {}) - LIBRARY_BYTES


def test_an_image_in_parts_takes_so_many_times_what_the_whole_takes() -> None:
    assert work("llava_next", CLIP, image_grid_pinpoints=GRID) == 5 * work("llava", CLIP)
    whole = work("idefics3", SIGLIP, {"size": {"longest_edge": 364}, "max_image_size": {"longest_edge": 364}})
    assert work("idefics3", SIGLIP) * 2 == 17 * whole
    assert work("smolvlm", SIGLIP, {"size": {"longest_edge": 728}}) * 2 == 5 * whole


def test_all_layers_of_an_encoder_count_where_they_are_kept() -> None:
    assert 90_000_000 < work("llava", CLIP) < 150_000_000
    assert work("idefics3", {**SIGLIP, "num_hidden_layers": 54}) == work("idefics3", SIGLIP)
    assert work("llava", {**CLIP, "num_hidden_layers": 48}) > 1.4 * work("llava", CLIP)


def test_a_model_that_does_not_see_needs_nothing() -> None:
    assert image_work_bytes({"model_type": "llama"}, {}) == 0
    assert image_work_bytes({"model_type": "llava", "vision_config": None}, {}) == 0


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llava", "vision_config": {}},
        {"model_type": "llava_next", "vision_config": {"patch_size": "14"}},
        {"model_type": "other", "vision_config": dict.fromkeys(CLIP, 0)},
    ],
)
def test_what_a_configuration_does_not_say_is_not_counted(config: dict[str, Any]) -> None:
    assert image_work_bytes(config, {}) == LIBRARY_BYTES


def test_images_count_for_engines_that_see_with_the_model() -> None:
    text = read_hf_directory(NANO_HF)
    seeing = replace(text, model_type="llava", has_image_processor=True, image_work_bytes=7_000_000)

    def need(model: HfModel, engine: str) -> int:
        return directory_need(model, engine=engine, options={}, context_length=128, slots=1)["ram"]

    assert need(seeing, "transformers") == need(text, "transformers") + 7_000_000
    assert need(replace(seeing, model_type="vipllava"), "transformers") == need(text, "transformers")
    assert need(replace(seeing, has_image_processor=False), "transformers") == need(text, "transformers")
    assert need(seeing, "mlx") == need(text, "mlx")

"""The memory for images of models in safetensors, by their configurations."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.models.files.image_encoder import image_work_bytes

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
    return image_work_bytes({"model_type": family, "vision_config": encoder, **config}, processor or {})


def test_an_image_in_parts_takes_so_many_times_what_the_whole_takes() -> None:
    assert work("llava_next", CLIP, image_grid_pinpoints=GRID) == 5 * work("llava", CLIP)
    whole = work("idefics3", SIGLIP, {"size": {"longest_edge": 364}, "max_image_size": {"longest_edge": 364}})
    assert work("idefics3", SIGLIP) * 2 == 17 * whole
    assert work("smolvlm", SIGLIP, {"size": {"longest_edge": 728}}) * 2 == 5 * whole


def test_all_layers_of_an_encoder_count_where_they_are_kept() -> None:
    assert 90_000_000 < work("llava", CLIP) < 150_000_000
    assert work("llava", {**CLIP, "num_hidden_layers": 48}) > 1.5 * work("llava", CLIP)
    assert work("idefics3", {**SIGLIP, "num_hidden_layers": 54}) == work("idefics3", SIGLIP)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama"},
        {"model_type": "llava", "vision_config": {}},
        {"model_type": "llava", "vision_config": None},
        {"model_type": "llava_next", "vision_config": {"patch_size": "14"}},
        {"model_type": "other", "vision_config": {**dict.fromkeys(CLIP, 0)}},
    ],
)
def test_what_a_configuration_does_not_say_is_not_counted(config: dict[str, Any]) -> None:
    assert image_work_bytes(config, {}) == 0

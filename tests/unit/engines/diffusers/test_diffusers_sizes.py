"""Sizes of images: a refusal names one that the pipeline makes."""

from __future__ import annotations

import re

import pytest

from modelhost.engines.diffusers.orders import Abilities, check_size, size_of_edit
from modelhost.engines.worker.asgi import ErrorResponse

ABILITIES = Abilities(
    size=(512, 512),
    multiple=8,
    steps=20,
    guidance=7.5,
    max_steps=150,
    max_pixels=4_194_304,
    has_negative_prompts=True,
    prompt_tokens=77,
)


@pytest.mark.parametrize(
    "size", [(99999, 99999), (8192, 8192), (63, 64), (8, 8), (66, 130), (1, 99999), (99999, 1), (70000, 72)]
)
def test_a_refused_size_names_one_that_is_made(size: tuple[int, int]) -> None:
    with pytest.raises(ErrorResponse) as refused:
        check_size(size, ABILITIES)
    named = re.findall(r"(\d+)x(\d+)", str(refused.value.body))
    width, height = named[-1]
    assert (int(width), int(height)) != size
    check_size((int(width), int(height)), ABILITIES)


def test_an_edit_has_the_size_of_its_image_rounded_down() -> None:
    assert size_of_edit((515, 71), ABILITIES) == (512, 64)


def test_an_image_that_is_too_small_is_named_as_such() -> None:
    with pytest.raises(ErrorResponse) as refused:
        size_of_edit((1, 1), ABILITIES)
    error = refused.value.body["error"]
    assert error["param"] == "image"
    assert "1x1 pixels" in error["message"]
    assert "64x64" in error["message"]

"""Grey pictures of 16 bits keep their shades."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from modelhost.engines.diffusers.pictures import fitted, fitted_mask, read_picture
from modelhost.engines.media.grey_pictures import in_eight_bits
from modelhost.engines.worker.asgi import ErrorResponse

SHADES = [0, 300, 10_000, 65_535]


def opened(picture: Image.Image) -> Image.Image:
    """Return ``picture`` as it is read from a file."""
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return read_picture(sink.getvalue(), param="image", max_pixels=64)


def grey(shades: list[int]) -> Image.Image:
    return opened(Image.fromarray(np.array([shades], np.uint16)))


def test_shades_are_those_of_sixteen_bits() -> None:
    assert [grey(SHADES).getpixel((x, 0)) for x in range(4)] == [0, 1, 38, 255]
    assert [fitted(grey(SHADES), (4, 1)).getpixel((x, 0)) for x in range(4)] == [(v,) * 3 for v in (0, 1, 38, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_other_pictures_are_left_alone(mode: str) -> None:
    picture = Image.new(mode, (2, 2))
    assert in_eight_bits(picture) is picture


def mask_of(picture: Image.Image) -> list[object]:
    found = fitted_mask(opened(picture), Image.new("RGB", picture.size), picture.size)
    return [found.getpixel((x, 0)) for x in range(picture.width)]


def test_a_mask_of_sixteen_bits_is_black_where_it_is_dark() -> None:
    assert mask_of(Image.fromarray(np.array([[300, 65_535]], np.uint16))) == [1, 255]


def with_alphas(*alphas: int) -> Image.Image:
    return Image.fromarray(np.array([[(255, 255, 255, alpha) for alpha in alphas]], np.uint8))


def test_a_mask_with_transparency_is_painted_there() -> None:
    assert mask_of(with_alphas(0, 255)) == [255, 0]


def test_a_mask_that_could_be_transparent_and_is_not_is_painted_where_it_is_white() -> None:
    picture = Image.fromarray(np.array([[(255, 255, 255, 255), (0, 0, 0, 255)]], np.uint8))
    assert mask_of(picture) == [255, 0]


@pytest.mark.parametrize(
    "picture",
    [with_alphas(128, 255), Image.new("L", (2, 1), 127), Image.new("RGBA", (2, 1), (0, 0, 0, 255))],
)
def test_a_mask_that_leaves_nothing_to_paint_is_refused(picture: Image.Image) -> None:
    with pytest.raises(ErrorResponse) as refused:
        mask_of(picture)
    assert "nothing to paint" in refused.value.body["error"]["message"]

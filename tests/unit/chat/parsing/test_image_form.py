"""Requests for images: what is wrong is named in words, and what programs give in Python."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.chat.parsing.image_form import fields_of_form, keyword_request, parsed_edit, parsed_images
from modelhost.errors import InvalidRequest, ModelhostError, UnsupportedParameter

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("size", ["64X64", "64*64", "", "0x0", "64x64 ", "64x64\n"])
def test_a_wrong_size_is_told_how_sizes_are_written(size: str) -> None:
    with pytest.raises(InvalidRequest, match="WIDTHxHEIGHT") as refused:
        parsed_images({"prompt": "a", "size": size})
    assert refused.value.param == "size"


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64])
def test_the_range_of_seeds_is_named(seed: int) -> None:
    with pytest.raises(InvalidRequest, match="from 0 to 4294967295") as refused:
        parsed_images({"prompt": "a", "seed": seed})
    assert refused.value.param == "seed"


@pytest.mark.parametrize(("text", "problem"), [("nan", "number"), ("-inf", "number")])
def test_what_is_no_number_of_a_form_is_refused_as_such(text: str, problem: str) -> None:
    fields = fields_of_form({"prompt": ["a"], "strength": [text]})
    with pytest.raises(InvalidRequest, match=problem):
        parsed_edit(fields, {"image": [PNG]})


def test_programs_give_fields_of_the_endpoint_or_of_the_request() -> None:
    made = keyword_request("a", {"size": (512, 256), "seed": 7, "format": "webp", "compression": 80, "image": PNG})
    assert (made.size, made.seed, made.format, made.compression, made.image) == ((512, 256), 7, "webp", 80, PNG)
    assert keyword_request("a", {"size": "64x128", "output_format": "jpeg"}).size == (64, 128)


@pytest.mark.parametrize(
    ("parameters", "kind", "param"),
    [
        ({"steps": "a"}, InvalidRequest, "steps"),
        ({"seed": -1}, InvalidRequest, "seed"),
        ({"size": (64,)}, InvalidRequest, "size"),
        ({"image": "a.png"}, InvalidRequest, "image"),
        ({"stream": True}, UnsupportedParameter, "stream"),
        ({"zzz": 1}, UnsupportedParameter, "zzz"),
    ],
)
def test_what_programs_give_is_checked(parameters: dict[str, Any], kind: type[ModelhostError], param: str) -> None:
    with pytest.raises(kind) as refused:
        keyword_request("a", parameters)
    assert refused.value.param == param

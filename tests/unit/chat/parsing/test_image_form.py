"""Requests for images: what is wrong is named in words, and what programs give in Python."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from modelhost.chat.parsing.image_form import fields_of_form, json_edit, keyword_request, parsed_edit, parsed_images
from modelhost.errors import InvalidImage, InvalidRequest, ModelhostError, UnsupportedParameter

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("size", ["64X64", "64*64", "", "0x0", "64x64 ", "64x64\n", "٦٤x٦٤", "1000000000x64"])
def test_a_wrong_size_is_told_how_sizes_are_written(size: str) -> None:
    with pytest.raises(InvalidRequest, match=r"WIDTHxHEIGHT.*from 1 to 999999999") as refused:
        parsed_images({"prompt": "a", "size": size})
    assert refused.value.param == "size"


def test_a_size_beyond_all_models_is_left_to_the_worker_which_names_another() -> None:
    assert parsed_images({"prompt": "a", "size": "100000x999999999"}).request().size == (100_000, 999_999_999)


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


@pytest.mark.parametrize("text", ["1_0", "٢", "0x1", "1e", "many", "1" * 5000])
def test_numbers_of_a_form_are_written_as_elsewhere(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed_edit(fields_of_form({"prompt": ["a"], "n": [text]}), {"image": [PNG]})
    assert refused.value.param == "n"


@pytest.mark.parametrize(("text", "number"), [("1", 1), (" 0.5\n", 0.5), (".5", 0.5), ("5e-1", 0.5), ("+1.0", 1)])
def test_a_number_of_a_form_is_read(text: str, number: float) -> None:
    fields = fields_of_form({"prompt": ["a"], "strength": [text]})
    assert parsed_edit(fields, {"image": [PNG]})[1].strength == number


@pytest.mark.parametrize(("field", "param"), [("mask", "mask"), ("image", "image"), ("image[]", "image")])
def test_an_image_that_is_a_text_of_a_form_is_told_to_be_sent_as_a_file(field: str, param: str) -> None:
    with pytest.raises(InvalidRequest, match="send it as a file") as refused:
        fields_of_form({"prompt": ["a"], field: [base64.b64encode(PNG).decode()]})
    assert refused.value.param == param


@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "DATA:image/PNG;BASE64,", " data:image/png;base64, "])
def test_base64_may_have_line_breaks_and_a_data_url_capitals(head: str) -> None:
    file = PNG + bytes(range(256))
    given = {"prompt": "a", "image": head + base64.encodebytes(file).decode()}
    assert json_edit(given)[1].image == file


@pytest.mark.parametrize("image", ["data:image/png,AAAA", "data:image/png;base64", "AAAA=AAAA", "AA\u00e9A"])
def test_what_is_no_base64_is_no_image(image: str) -> None:
    with pytest.raises(InvalidImage, match="base64"):
        json_edit({"prompt": "a", "image": image})


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
        ({"partial_images": 2}, UnsupportedParameter, "partial_images"),
        ({"zzz": 1}, UnsupportedParameter, "zzz"),
    ],
)
def test_what_programs_give_is_checked(parameters: dict[str, Any], kind: type[ModelhostError], param: str) -> None:
    with pytest.raises(kind) as refused:
        keyword_request("a", parameters)
    assert refused.value.param == param

"""Bodies at doors where unknown fields are ignored and noted: the path of the first field that is wrong."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from modelhost.chat.notes import ON_NOTE
from modelhost.errors import InvalidRequest
from modelhost.http.validation import Lenient, checked, note_ignored


class Circle(Lenient):
    """A shape."""

    type: Literal["circle"]
    radius: float


class Group(Lenient):
    """Shapes in a shape."""

    type: Literal["group"]
    parts: list[Shape]


Shape = Annotated[Circle | Group, Field(discriminator="type")]


class Drawing(Lenient):
    """A body."""

    size: Annotated[int, Field(ge=1)]
    shapes: str | list[Shape] | None = None
    colour: Annotated[str, Field(min_length=1)] | None = None


def refusal(body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        checked(Drawing, body)
    return caught.value


CIRCLE = {"type": "circle", "radius": 1}


def test_a_body_that_is_right() -> None:
    found = checked(Drawing, {"size": 2, "shapes": [CIRCLE, {"type": "group", "parts": [CIRCLE]}]})
    assert (found.size, len(found.shapes or ())) == (2, 2)


@pytest.mark.parametrize("body", [None, [], "size", 1], ids=str)
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    assert refusal(body).message == "The body has to be a JSON object."


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({}, "size", "Field required"),
        ({"size": 0}, "size", "greater than or equal to 1"),
        ({"size": "2"}, "size", "valid integer"),
        ({"size": None}, "size", "valid integer"),
        ({"size": 2, "colour": ""}, "colour", "at least 1 character"),
        ({"size": 2, "colour": 5}, "colour", "valid string"),
        ({"size": 2, "shapes": 5}, "shapes", "valid string"),
        ({"size": 2, "shapes": CIRCLE}, "shapes", "valid string"),
        ({"size": 2, "shapes": [{}]}, "shapes[0].type", "Field required"),
        ({"size": 2, "shapes": ["circle"]}, "shapes[0]", "valid dictionary"),
        (
            {"size": 2, "shapes": [CIRCLE, {"type": "square"}]},
            "shapes[1].type",
            "this type is unknown here; known are 'circle', 'group'.",
        ),
        ({"size": 2, "shapes": [{"type": "circle"}]}, "shapes[0].radius", "Field required"),
        ({"size": 2, "shapes": [{"type": "circle", "radius": "1"}]}, "shapes[0].radius", "valid number"),
        (
            {"size": 2, "shapes": [{"type": "group", "parts": [CIRCLE, {"type": "circle", "radius": None}]}]},
            "shapes[0].parts[1].radius",
            "valid number",
        ),
    ],
)
def test_the_path_of_a_field_that_is_wrong_is_the_clients(body: dict[str, Any], param: str, said: str) -> None:
    error = refusal(body)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")
    assert said in error.message


def test_fields_that_are_unknown_are_ignored_and_noted() -> None:
    notes: list[str] = []
    token = ON_NOTE.set(notes.append)
    checked(
        Drawing, {"size": 2, "frame": True, "größe": 1, "a\x1f\n": 1, "x" * 100: 1, "shapes": [{**CIRCLE, "inner": 1}]}
    )
    ON_NOTE.reset(token)
    # A name becomes a header: it is short, ASCII and printable. Fields of inner objects are not noted.
    assert notes == ["ignored=frame", r"ignored=gr\xf6\xdfe", r"ignored=a\x1f\n", "ignored=" + "x" * 60]


def test_without_a_request_a_note_goes_nowhere() -> None:
    note_ignored("frame")

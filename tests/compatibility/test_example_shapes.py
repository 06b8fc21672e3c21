"""The comparison of an answer with the shape of an example."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compatibility.examples import lacks

EXAMPLE = {"name": "x", "count": 3, "is_on": True, "models": [{"id": "m", "ratio": 0.5}]}


@pytest.mark.parametrize(
    "answer",
    [
        EXAMPLE,
        {"name": "y", "count": 4.5, "is_on": False, "models": [], "more": 1},
        {
            "name": None,
            "count": None,
            "is_on": None,
            "models": [{"id": "n", "ratio": 1, "more": 2}, {"id": "o", "ratio": 0}],
        },
    ],
)
def test_fields_of_the_right_types_have_the_shape(answer: dict[str, Any]) -> None:
    assert lacks(answer, EXAMPLE) == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"count": "3"}, ".count: '3' in the place of 3"),
        ({"count": True}, ".count: True in the place of 3"),
        ({"name": 3}, ".name: 3 in the place of 'x'"),
        ({"is_on": 1}, ".is_on: 1 in the place of True"),
        ({"models": [{"id": "m", "ratio": 0.5}, {"id": "n"}]}, ".models[1].ratio"),
    ],
)
def test_a_fault_is_named_with_its_place(changed: dict[str, Any], fault: str) -> None:
    assert lacks({**EXAMPLE, **changed}, EXAMPLE) == [fault]

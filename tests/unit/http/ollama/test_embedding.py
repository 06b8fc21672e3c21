"""Vectors of a length of 1."""

from __future__ import annotations

import pytest

from modelhost.http.ollama.endpoint import shortened, unit


def test_a_vector_gets_a_length_of_one() -> None:
    assert unit([3.0, 4.0]) == [0.6, 0.8]
    assert unit([0.0, 0.0]) == [0.0, 0.0]


@pytest.mark.parametrize("dimensions", [None, 0, 2, 5])
def test_a_vector_is_not_made_longer(dimensions: int | None) -> None:
    assert shortened([3.0, 4.0], dimensions) == [0.6, 0.8]


def test_a_shortened_vector_has_a_length_of_one_again() -> None:
    assert shortened([3.0, 4.0, 12.0], 2) == [0.6, 0.8]

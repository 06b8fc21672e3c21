"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from modelhost.plurals import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 cores"), (1, "1 core"), (2, "2 cores"), (32_768, "32,768 cores")])
def test_a_noun_agrees_with_its_number(number: int, text: str) -> None:
    assert counted(number, "core") == text

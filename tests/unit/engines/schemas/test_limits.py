"""How large regular expressions are when they are written out."""

from __future__ import annotations

import pytest

from modelhost.engines.schemas.limits import MOST_WRITTEN_OUT, expanded_size, is_too_large


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        ("^abc$", 3),
        (r"\d{3}-\d{2}", 6),
        ("a{2,5}", 5),
        ("a{2,}", 2),
        ("a{0}", 0),
        ("(ab){10}", 20),
        ("(?:a{10}b){10}c", 111),
        ("((a{10}){10}){10}", 1000),
        ("[(){2}]{3}", 3),
        (r"\({3}", 3),
        ("a|b{4}", 5),
        ("a)", 2),
    ],
)
def test_repetitions_are_written_out(pattern: str, size: int) -> None:
    assert expanded_size(pattern) == size


def test_counts_multiply_beyond_what_a_grammar_holds() -> None:
    assert not is_too_large("(a{100}){100}")
    assert is_too_large("(a{100}){101}")
    assert is_too_large(f"a{{{MOST_WRITTEN_OUT + 1}}}")

"""Regular expressions of others are checked, and none holds up the host."""

from __future__ import annotations

import pytest

from modelhost import patterns
from modelhost.tools.arguments import ArgumentCheck

ENDLESS = "^(a|a)*$"
TEXT = "a" * 60 + "!"


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", r"(?<=a)b", r"[^\W\d]", "", r"(a)\1"])
def test_expressions_are_known(pattern: str) -> None:
    patterns.check(pattern)


@pytest.mark.parametrize("pattern", ["(", "[z-a]", r"\p{None}", "*", r"(?P<n>a)(?P=m)"])
def test_what_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        patterns.check(pattern)


def test_texts_are_held_against_them() -> None:
    assert patterns.search(r"\p{Lu}b", "xÄb")
    assert not patterns.search("^b", "ab")
    assert patterns.fullmatch("a|ab", "ab")
    assert not patterns.fullmatch("a+", "aab")


@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "additionalProperties"])
def test_one_that_would_take_for_ever_is_given_up(keyword: str) -> None:
    """Python's own would not be done in years."""
    schema = {
        "pattern": {"properties": {"v": {"items": {"pattern": ENDLESS}}}},
        "patternProperties": {"patternProperties": {ENDLESS: {}}},
        "additionalProperties": {"patternProperties": {ENDLESS: {}}, "additionalProperties": False},
    }[keyword]
    problems = ArgumentCheck({"type": "object", **schema}).problems({"v": [TEXT] * 100, TEXT: 1})
    assert len(problems) == 1
    assert "more than 0.1 s" in problems[0]


def test_properties_are_judged_as_json_schema_says() -> None:
    check = ArgumentCheck(
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "patternProperties": {"^x": {"type": "string"}},
            "additionalProperties": {"type": "boolean"},
        }
    )
    assert check.problems({"a": 1, "xy": "z", "b": True}) == []
    wrong = check.problems({"a": 1, "xy": 2, "b": "no"})
    assert wrong == ["\"xy\": 2 is not of type 'string'", "\"b\": 'no' is not of type 'boolean'"]
    closed = ArgumentCheck({"type": "object", "properties": {"a": {}}, "additionalProperties": False})
    assert closed.problems({"a": 1, "b": 2}) == ["Additional properties are not allowed ('b' was unexpected)"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("", ""),
        ("ab", "ab"),
        ("^[A-Z]{3}-[0-9]{2}$", "[A-Z]{3}-[0-9]{2}"),
        ("^a", "a"),
        ("a$", "a"),
        ("^a|b$", "a|b"),
        ("^(a|b)$", "(a|b)"),
        ("^a$|^b$", "a|b"),
        (r"^\$", r"\$"),
        (r"\\$", r"\\"),
        (r"\^a", r"\^a"),
        (r"a\|$", r"a\|"),
        ("[$|^]", "[$|^]"),
        ("[]|^]$", "[]|^]"),
        ("(^a|b$)", "(^a|b$)"),
        ("a^|$b", "a^|$b"),
    ],
)
def test_whole_matches_need_no_anchors(pattern: str, left: str) -> None:
    assert patterns.without_anchors(pattern) == left
    for text in ("", "a", "b", "$", "|", "^", "\\", "a|", "^a", "ABC-12", "a\n"):
        assert patterns.fullmatch(pattern, text) == patterns.fullmatch(left, text)

"""The list of promises and the markers of the tests agree."""

from __future__ import annotations

import pytest

from tests.compatibility.markers import StrayMarker, marked, proofs
from tests.compatibility.promises import PROVEN, Promise, Status, documents

PROMISES = [promise for document in documents() for promise in document.promises]
# What is announced for later; a missing promise names one of these.
LATER = ("performance monitor", "speech and images", "terminal", "cluster")
MARKER = '@pytest.mark.promise("a.b", "a.c")\n'


def test_what_works_or_differs_is_proven_by_a_test() -> None:
    proven = proofs()
    assert [each.key for each in PROMISES if each.status in PROVEN and each.key not in proven] == []


def test_every_marker_names_a_promise_of_the_list() -> None:
    known = {each.key for each in PROMISES}
    assert {key: tests for key, tests in proofs().items() if key not in known} == {}


def test_no_two_promises_share_an_id() -> None:
    assert len({each.key for each in PROMISES}) == len(PROMISES)


@pytest.mark.parametrize(
    "promise", [each for each in PROMISES if each.status != Status.WORKS], ids=lambda each: each.key
)
def test_what_does_not_work_says_why(promise: Promise) -> None:
    assert promise.note.endswith(".")
    if promise.status == Status.MISSING:
        assert any(part in promise.note for part in LATER)


@pytest.mark.parametrize(
    "test",
    [
        f"{MARKER}def test_x(): ...",
        f"{MARKER}async def test_x(): ...",
        '@pytest.mark.parametrize("y", [pytest.param(1, marks=pytest.mark.promise("a.b", "a.c"))])\ndef test_x(y): ...',
    ],
)
def test_a_marker_is_found_wherever_pytest_finds_it(test: str) -> None:
    assert list(marked(test, "test_file.py")) == [("a.b", "test_x"), ("a.c", "test_x")]


@pytest.mark.parametrize(
    "text",
    [
        f"{MARKER}def helper(): ...",
        'pytestmark = pytest.mark.promise("a.b")',
        'KEY = "a.b"\n@pytest.mark.promise(KEY)\ndef test_x(): ...',
    ],
)
def test_a_marker_that_would_be_overlooked_is_an_error(text: str) -> None:
    with pytest.raises(StrayMarker, match="test_file"):
        list(marked(text, "test_file.py"))

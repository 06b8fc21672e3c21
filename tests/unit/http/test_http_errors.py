"""Errors of the tree as answers."""

from __future__ import annotations

import orjson
import pytest

from modelhost import errors
from modelhost.errors import ModelhostError, Unavailable, WorkerError
from modelhost.http.errors import STATUS, error_answer, error_object


def leaves(kind: type[ModelhostError] = ModelhostError) -> list[type[ModelhostError]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


def example(kind: type[ModelhostError]) -> ModelhostError:
    if issubclass(kind, WorkerError):
        return kind("It failed.", model="m", worker="m/1", param="p", why="x")
    return kind("It failed.", param="p", why="x")


def test_no_leaf_of_the_error_tree_lacks_a_status() -> None:
    assert set(STATUS) == set(leaves())


def test_every_leaf_has_a_code_of_its_own() -> None:
    codes = [leaf.code for leaf in leaves()]
    assert len(set(codes)) == len(codes)
    assert ModelhostError.code not in codes


def test_every_leaf_stands_in_the_drawing_of_the_tree() -> None:
    assert errors.__doc__ is not None
    assert [leaf.__name__ for leaf in leaves() if f" {leaf.__name__} " not in errors.__doc__] == []


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_every_leaf_becomes_a_whole_error_object(kind: type[ModelhostError]) -> None:
    error = example(kind)
    status, headers, body = error_answer(error)
    assert 400 <= status < 600
    assert orjson.loads(body) == error_object(error)
    told = error_object(error)["error"]
    assert set(told) == {"message", "type", "param", "code", "source", "details"}
    assert (told["message"], told["param"], told["code"]) == ("It failed.", "p", kind.code)
    assert told["details"] == {"why": "x"}
    assert told["source"]["kind"] == ("worker" if isinstance(error, WorkerError) else "host")
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    assert (b"retry-after" in dict(headers)) == isinstance(error, Unavailable)

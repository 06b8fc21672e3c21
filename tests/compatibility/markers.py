"""The tests that carry the marker ``promise``, found in the text of the tests: none is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]


class StrayMarker(Exception):
    """A marker that no reader of the text can connect with a test: the message says where it is."""


def proofs() -> Mapping[str, tuple[str, ...]]:
    """Return the tests that prove each promise, as ``unit/test_file.py::test_name``, by the id of the promise.

    Raises:
        StrayMarker: a marker is not among the decorators of a test, or has something else than texts.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text, file = path.read_text("utf-8"), path.relative_to(TESTS).as_posix()
        if "mark.promise" in text:
            for key, test in marked(text, file):
                found.setdefault(key, []).append(f"{file}::{test}")
    return {key: tuple(tests) for key, tests in found.items()}


def marked(text: str, file: str) -> Iterator[tuple[str, str]]:
    """Yield the id and the test of each marker in the ``text`` of ``file``; that of a parameter is its test's."""
    tree = ast.parse(text)
    connected = 0
    for test in ast.walk(tree):
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test_"):
            for marker in _markers(*test.decorator_list):
                connected += 1
                yield from ((_text(argument, file), test.name) for argument in marker.args)
    if connected != len(list(_markers(tree))):
        raise StrayMarker(f"{file}: a marker `promise` is not among the decorators of a test")


def _markers(*nodes: ast.AST) -> Iterator[ast.Call]:
    for top in nodes:
        for node in ast.walk(top):
            match node:
                case ast.Call(func=ast.Attribute(attr="promise", value=ast.Attribute(attr="mark"))):
                    yield node


def _text(argument: ast.expr, file: str) -> str:
    match argument:
        case ast.Constant(value=str(text)):
            return text
    raise StrayMarker(f"{file}:{argument.lineno}: a marker `promise` takes the ids as texts")

"""The tests themselves: they look at no private attribute, and do not measure how long something took."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OWN = ("self", "cls")
PRIVATE = re.compile(r"_[a-z]\w*")
PRIVATE_PATH = re.compile(r"modelhost(\.\w+)*\._[a-z]\w*")
CLOCKS = ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "thread_time")
ADVICE = {
    "private": "see what it does from outside, or give the source a public way",
    "elapsed": "let events, their order or the fixture virtual_time prove it; a timeout only ends what hangs",
}


def _private(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Accesses to what begins with an underscore, except to a test class's own."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner)) if owner in OWN:
                continue
            case ast.Attribute(value=ast.Name(id="os"), attr="_exit"):  # public, whatever its name looks like
                continue
            case ast.Attribute(attr=name) if PRIVATE.fullmatch(name):
                yield node.lineno, name
            case ast.ImportFrom(module=str(module), names=names):
                found = [*module.split("."), *(alias.name for alias in names)]
                yield from ((node.lineno, name) for name in found if PRIVATE.fullmatch(name))
            case ast.Call(func=ast.Attribute(attr="setattr" | "delattr") | ast.Name(id="getattr" | "setattr")):
                texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
                names = [text for text in texts if isinstance(text, str)]
                yield from (
                    (node.lineno, name) for name in names[:1] if PRIVATE.fullmatch(name) or PRIVATE_PATH.fullmatch(name)
                )


def _reads_clock(node: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in CLOCKS
        for each in ast.walk(node)
    )


def _elapsed(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Differences of what a clock says now and what it said before; time that is left, the other way round, is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _reads_clock(node.left):
            yield node.lineno, ast.unparse(node)


def _faults(kind: str, source: str) -> list[tuple[int, str]]:
    find = {"private": _private, "elapsed": _elapsed}[kind]
    return list(find(ast.parse(source)))


@pytest.mark.parametrize("kind", ["private", "elapsed"])
def test_tests_look_from_outside_and_measure_no_time(kind: str) -> None:
    faults = [
        f"{path.relative_to(TESTS.parent)}:{line}: {what}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, what in _faults(kind, path.read_text("utf-8"))
    ]
    assert not faults, "\n".join([f"{kind} ({ADVICE[kind]}):", *faults])


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("private", "scheduler._waiters"),
        ("private", "self.scheduler._waiters"),
        ("private", "from modelhost.models.residency.scheduler import _decide"),
        ("private", "monkeypatch.setattr(gpus, '_pids', list)"),
        ("private", "monkeypatch.setattr('modelhost.workers.gpus._pids', list)"),
        ("elapsed", "assert time.monotonic() - began < 2"),
        ("elapsed", "seconds = time.perf_counter() - began"),
    ],
)
def test_a_fault_is_found(kind: str, line: str) -> None:
    assert len(_faults(kind, line)) == 1


@pytest.mark.parametrize(
    "line", ["self._own", "object.__init__", "end = time.monotonic() + 5", "end - time.monotonic()"]
)
def test_what_is_all_right_is_no_fault(line: str) -> None:
    assert not _faults("private", line)
    assert not _faults("elapsed", line)

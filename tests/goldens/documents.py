"""Goldens that are no talk: names of metrics, settings, database columns and log events, and how errors look."""

from __future__ import annotations

import ast
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from modelhost import errors
from modelhost.config.settings import Settings
from modelhost.errors import ModelhostError, WorkerError
from modelhost.http.errors import error_answer
from tests.goldens.json_text import json_text, on_a_line
from tests.goldens.normalising import Normaliser
from tests.goldens.surroundings import PACKAGE
from tools.reference.metrics import DeclaredMetric, declared_metrics

LEVELS: Final = ("debug", "info", "warning", "error", "exception")
UNPROVOKED: Final = {
    "internal_error": "It needs a fault of the host that nobody has foreseen.",
    "disk_full": "It needs a disk that is full.",
    "websocket_connection_limit_reached": "It needs a WebSocket that has been open for an hour.",
    "system_library_missing": "It needs a machine on which a shared library of the operating system is missing.",
}
"""Codes that no test can provoke through a door, each with the reason; ``error_answers.txt`` shows them, too."""


def leaves(kind: type[ModelhostError] = ModelhostError) -> list[type[ModelhostError]]:
    """The errors that are raised, in the order of the tree."""
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


def error_answers() -> str:
    """How the HTTP face renders each error of the tree."""
    parts = []
    for leaf in leaves():
        assert leaf.__module__ == errors.__name__
        worker: dict[str, Any] = {"model": "m", "worker": "m/<pid>"} if issubclass(leaf, WorkerError) else {}
        status, headers, body = error_answer(leaf("It failed.", param="p", why="x", **worker))
        lines = [f"=== {leaf.code}: {leaf.__name__}"]
        if leaf.code in UNPROVOKED:
            lines.append(f"(not provoked: {UNPROVOKED[leaf.code]})")
        lines.append(f"< {status}")
        lines += [f"< {name.decode()}: {value.decode()}" for name, value in headers if name != b"content-length"]
        parts.append("\n".join([*lines, json_text(json.loads(body)), ""]))
    return "\n".join(parts)


def metrics(exposition: str) -> str:
    """Every metric with its type, labels and buckets, and those that ``/metrics`` shows, without their values."""
    # The metrics of engines are there once they have been read, which is a matter of time.
    shown = [line for line in exposition.splitlines() if line.startswith(("# HELP modelhost_", "# TYPE modelhost_"))]
    return "\n".join(["=== declared", *map(_declared, declared_metrics()), "", "=== shown by /metrics", *shown, ""])


def _declared(metric: DeclaredMetric) -> str:
    buckets = f"; buckets {list(metric.buckets)}" if metric.buckets else ""
    return f"{metric.name} ({metric.kind}): {', '.join(metric.labels) or 'no labels'}{buckets}"


def settings() -> str:
    """Every setting with its type, its bounds and its default, as the JSON schema has them."""
    schema = Settings.model_json_schema()
    properties: dict[str, dict[str, Any]] = schema["properties"]
    lines = [f"{key}: {on_a_line({k: v for k, v in rest.items() if k != 'title'})}" for key, rest in properties.items()]
    return "\n".join([*lines, ""])


def database_columns(file: Path) -> str:
    """Tables, columns and indexes of the SQLite database of a host."""
    lines = []
    with closing(sqlite3.connect(file)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1").fetchall():
            lines += [table, *(f"    {line}" for line in _columns(database, table))]
    return "\n".join([*lines, ""])


def _columns(database: sqlite3.Connection, table: str) -> Iterator[str]:
    for _, name, kind, is_required, default, key in database.execute(f"PRAGMA table_info({table})"):
        notes = (
            "not null" if is_required else "",
            "" if default is None else f"default {default}",
            f"primary key {key}" if key else "",
        )
        yield ", ".join(filter(None, (f"{name} {kind}", *notes)))
    for _, _, other, mine, theirs, _, on_delete, _ in database.execute(f"PRAGMA foreign_key_list({table})"):
        yield f"foreign key {mine} -> {other}.{theirs}, on delete {on_delete.lower()}"
    indexes = database.execute(f"PRAGMA index_list({table})").fetchall()
    for _, name, is_unique, *_ in sorted(indexes, key=lambda index: str(index[1])):
        columns = ", ".join(row[2] for row in database.execute(f"PRAGMA index_info({name})"))
        yield f"{'unique ' if is_unique else ''}index {name} ({columns})"


def log_of(stderr: str, normaliser: Normaliser) -> str:
    """The log of a host, normalised."""
    normaliser.begin_scenario()
    lines = (json.loads(line) for line in stderr.splitlines() if line.startswith("{"))
    return "\n".join([*(on_a_line(normaliser.value(line)) for line in lines), ""])


def log_events() -> str:
    """Every event that the sources log: its name, its levels and the names of its fields."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, level, fields in _events_in(ast.parse(path.read_text("utf-8"))):
            levels, keys = found.setdefault(name, (set(), set()))
            levels.add(level)
            keys.update(fields)
    lines = [
        f"{name} ({', '.join(sorted(levels))}): {', '.join(sorted(keys)) or 'no fields'}"
        for name, (levels, keys) in sorted(found.items())
    ]
    return "\n".join([*lines, ""])


def _events_in(tree: ast.AST) -> Iterator[tuple[str, str, list[str]]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        first = node.args[0]
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str) or " " in first.value:
            continue
        if (level := _level_of(node.func)) is not None:
            yield first.value, level, [keyword.arg or "**" for keyword in node.keywords]


def _level_of(called: ast.expr) -> str | None:
    """The level of ``log.info``, ``bound_log.warning`` and the like; ``say`` and ``write`` have a level that varies."""
    if isinstance(called, ast.Name) and called.id in {"say", "write"}:
        return "chosen"
    if not isinstance(called, ast.Attribute) or called.attr not in LEVELS:
        return None
    owner = called.value
    name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return called.attr if name in {"log", "_log", "bound_log", "logger"} else None

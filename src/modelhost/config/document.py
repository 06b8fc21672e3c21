"""Parses YAML and JSON text into keys and values; duplicate keys are refused, and errors say where they are.

JSON may be JSON5 (https://spec.json5.org): editors and other programs write comments and trailing commas into such
files, and some begin them with a byte order mark.

The limits protect hosts that watch a file: a few lines can expand to a billion values (aliases of aliases) or nest
deeper than Python can recurse.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from modelhost import lazy
from modelhost.config.paths import broken_link

JSON_SUFFIXES: Final = (".json", ".jsonc", ".json5")
_JSON5_PROBLEM: Final = re.compile(r"<string>:(\d+) (.*) at column (\d+)", re.DOTALL)
MAX_BYTES: Final = 1 << 20
"""PyYAML takes many seconds for this size; the registry of a thousand models has a tenth of it."""
MAX_JSON5_CHARS: Final = 64 << 10
"""The JSON5 parser takes a second for 30,000 characters."""
MAX_DEPTH: Final = 64
MAX_VALUES: Final = 200_000
"""Counting the content of each alias."""
TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"


def read_content(path: Path) -> bytes:
    """Read the file at ``path``, at most one byte more than allowed.

    Raises:
        ValueError: the file cannot be read; the message ends a sentence.
    """
    try:
        with open(path, "rb", opener=_opened) as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(broken_link(path) or error.strerror or str(error)) from error


def _opened(path: str, flags: int) -> int:
    """Open a file without blocking on a pipe that has no writer."""
    file = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(file, True)
    return file


def parse(content: bytes, path: Path, *, example: str) -> Mapping[Any, Any]:
    """Parse ``content`` of the file ``path`` as a mapping, empty for an empty file. ``example`` is for error messages.

    Raises:
        ValueError: it is no valid mapping; the message ends a sentence.
    """
    found = parse_any(content, is_json=path.suffix.lower() in JSON_SUFFIXES)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f'expected keys and values, such as "{example}"')  # noqa: TRY004  (a ValueError by contract)
    return found


def parse_any(content: bytes, *, is_json: bool = False) -> Any:
    """Parse ``content``, mapping or not; raises as :func:`parse` does."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    return _json(text) if is_json and text.strip() else lazy.yaml_document.parse_yaml(text)


def _json(text: str) -> Any:
    try:
        found = _json_or_json5(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    level = [found]
    for _ in range(MAX_DEPTH):
        level = [each for value in level for each in _inside(value)]
    if level:
        raise ValueError(TOO_DEEP)
    return found


def _json_or_json5(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=without_duplicates)
    except json.JSONDecodeError as error:
        if len(text) > MAX_JSON5_CHARS:
            where = f"line {error.lineno}, column {error.colno}: {error.msg}"
            raise ValueError(f"{where}. (JSON5 may have {MAX_JSON5_CHARS >> 10} KiB, JSON more.)") from None
        return _json5(text)


def _json5(text: str) -> Any:
    try:
        return lazy.json5.loads(text, object_pairs_hook=without_duplicates)
    except ValueError as error:
        found = _JSON5_PROBLEM.fullmatch(str(error))
        if found is None:
            raise
        what = found[2].replace("\n", "\\n")
        raise ValueError(f"line {found[1]}, column {found[3]}: {what[0].lower()}{what[1:]}") from error


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def without_duplicates(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the pairs of an object as a mapping.

    Raises:
        ValueError: a key is duplicated, so that one value would silently be lost.
    """
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f'"{key}" is given twice')
        found[key] = value
    return found

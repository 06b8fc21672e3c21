"""YAML or JSON text as keys and values, strictly read: a key given twice is refused, and an error says where it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def read_content(path: Path) -> bytes:
    """The bytes of the file at ``path``.

    Raises:
        ValueError: it cannot be read; the message is the end of a sentence.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def parse(content: bytes, *, is_json: bool, example: str) -> Mapping[Any, Any]:
    """The mapping that ``content`` holds; an empty one holds none. ``example`` shows a person what is expected.

    Raises:
        ValueError: not UTF-8, not JSON or YAML, a key given twice, or no mapping; the message is the end of a sentence.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    try:
        found = json.loads(text, object_pairs_hook=_once) if is_json and text.strip() else _yaml(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f'expected keys and values, such as "{example}"')  # noqa: TRY004  (a ValueError by contract)
    return found


def _yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (_Loader is a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs as a mapping.

    Raises:
        ValueError: a key given twice, of which one would otherwise be lost in silence.
    """
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f'"{key}" is given twice')
        found[key] = value
    return found


class _Loader(yaml.SafeLoader):
    """YAML that reads dates as text (a ``revision`` may look like one) and refuses a key given twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (declared so by PyYAML)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _once([(key.value, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep=deep)

"""YAML or JSON text as keys and values: a key given twice is refused, and an error says where it is.

JSON may be JSON5 (https://spec.json5.org): editors and other programs keep comments and trailing commas in such files,
and some begin them with a byte order mark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from modelhost.config.links import leads_nowhere

JSON_SUFFIXES: Final = (".json", ".jsonc", ".json5")
_JSON5_PROBLEM: Final = re.compile(r"<string>:(\d+) (.*) at column (\d+)", re.DOTALL)


def read_content(path: Path) -> bytes:
    """The bytes of the file at ``path``.

    Raises:
        ValueError: it cannot be read; the message is the end of a sentence.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(leads_nowhere(path) or error.strerror or str(error)) from error


def parse(content: bytes, path: Path, *, example: str) -> Mapping[Any, Any]:
    """The mapping that ``content`` of the file ``path`` holds; an empty one holds none. ``example`` shows a person what
    is expected.

    Raises:
        ValueError: not UTF-8, not JSON or YAML, a key given twice, or no mapping; the message is the end of a sentence.
    """
    is_json = path.suffix.lower() in JSON_SUFFIXES
    try:
        text = content.decode("utf-8-sig")
        found = _json(text) if is_json and text.strip() else _yaml(text)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f'expected keys and values, such as "{example}"')  # noqa: TRY004  (a ValueError by contract)
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError:
        return _json5(text)


def _json5(text: str) -> Any:
    import json5  # noqa: PLC0415 - most files are plain JSON, which is read a thousand times as fast

    try:
        return json5.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        found = _JSON5_PROBLEM.fullmatch(str(error))
        if found is None:
            raise
        what = found[2].replace("\n", "\\n")
        raise ValueError(f"line {found[1]}, column {found[3]}: {what[0].lower()}{what[1:]}") from error


def _yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (_Loader is a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error


def _once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
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

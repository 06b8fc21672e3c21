"""Parses YAML; what documents have to be is said in :mod:`modelhost.config.document`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from modelhost.config.document import MAX_DEPTH, MAX_VALUES, TOO_DEEP, without_duplicates


def parse_yaml(text: str) -> Any:
    """Return the value of ``text``.

    Raises:
        ValueError: it is no YAML, or breaks a limit; the message ends a sentence.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (_Loader is a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """Reads dates as text (a ``revision`` may look like one) and refuses duplicate keys and too large documents."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (declared so by PyYAML)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[yaml.Node, int] = {}
        """How many values each complete node expands to."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=TOO_DEEP, problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and not is_alias:
            self._sizes[node] = 1 + sum(self._sizes[each] for each in _children(node))
            if self._sizes[node] > MAX_VALUES:
                raise yaml.MarkedYAMLError(problem=f"more than {MAX_VALUES:,} values", problem_mark=mark)
        elif node not in self._sizes:
            raise yaml.MarkedYAMLError(problem="a value that contains itself", problem_mark=mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        without_duplicates([(key.value, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep=deep)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    match node:
        case yaml.MappingNode():
            for pair in node.value:
                yield from pair
        case yaml.SequenceNode():
            yield from node.value

"""The references of a JSON schema: their targets, moved to a place that every engine finds.

Engines follow ``#/$defs/name``. Any other reference within a document (``#`` itself, ``#/properties/a``, an anchor,
an escaped name, the document's own address) becomes such a reference, and its target is copied into ``$defs``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

SIMPLE: Final = re.compile(r"#/(\$defs|definitions)/([A-Za-z0-9_.-]+)")
IN_PLACE: Final = ("allOf", "anyOf", "oneOf")
NOT_COPIED: Final = frozenset({"$defs", "definitions", "$id", "$anchor", "$schema"})
"""Keywords that name a place in the document, which a copy is not."""
_NOTHING: Final = object()
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")


class UnusableSchema(ValueError):
    """The schema is not valid. ``location`` is a pointer into it."""

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"{location}: {reason}")
        self.location = location
        self.reason = reason


class References:
    """The references of one document."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._names: dict[str, str] = {}
        self._moved: list[tuple[str, Any, str]] = []
        self.not_fetched: dict[str, str] = {}
        """References to other documents, by their location."""
        self.targets: dict[str, Any] = {}
        """The targets of the plain references, unchanged."""

    def plain_one(self, reference: Any, at: str) -> str | None:
        """Return a reference to the same target that every engine follows; ``None`` if it leads to another document.

        Raises:
            UnusableSchema: it has no target.
        """
        if not isinstance(reference, str):
            raise UnusableSchema(at, "a reference has to be text")
        is_pointer = reference == "#" or reference.startswith("#/")
        target = _pointed_at(self._root, reference) if is_pointer else self._found_by_name(reference)
        if target is _NOTHING:
            if reference.startswith("#"):
                raise UnusableSchema(at, f'there is nothing at "{reference}"')
            self.not_fetched[at] = reference
            return None
        found = reference if SIMPLE.fullmatch(reference) else f"#/$defs/{self._name_for(reference, target)}"
        self.targets[found] = target
        return found

    def next_moved(self) -> tuple[str, Any, str] | None:
        """Return another target to be added to ``$defs``: its name, itself, and its location."""
        return self._moved.pop() if self._moved else None

    def _name_for(self, reference: str, target: Any) -> str:
        if reference not in self._names:
            wished = _UNSAFE.sub("_", reference.rpartition("/")[2].lstrip("#")) or "root"
            taken = {*self._names.values(), *(self._root.get("$defs") or ())}
            name, number = wished, 2
            while name in taken:
                name, number = f"{wished}_{number}", number + 1
            self._names[reference] = name
            if isinstance(target, Mapping):
                target = {key: value for key, value in target.items() if key not in NOT_COPIED}
            self._moved.append((name, target, reference))
        return self._names[reference]

    def _found_by_name(self, reference: str) -> Any:
        # A fifth of a second to import, for what few schemas have.
        from referencing import Registry, Resource  # noqa: PLC0415
        from referencing.exceptions import Unresolvable  # noqa: PLC0415
        from referencing.jsonschema import DRAFT202012  # noqa: PLC0415

        base = self._root.get("$id")
        resource = Resource.from_contents(dict(self._root), default_specification=DRAFT202012)
        registry = Registry().with_resource(base if isinstance(base, str) else "", resource)
        try:
            return registry.resolver(base if isinstance(base, str) else "").lookup(reference).contents
        except (Unresolvable, ValueError):
            return _NOTHING


def endless_reference(schema: Mapping[str, Any]) -> str | None:
    """Return the first definition of a plain schema that refers to itself without a value in between, if any."""
    named = {
        f"#/{key}/{name}": target
        for key in ("$defs", "definitions")
        for name, target in (schema.get(key) or {}).items()
    }
    led = {name: set(_leads_to(target)) for name, target in named.items()}
    return next((name for name in led if _reaches(led, name)), None)


def _reaches(led: Mapping[str, set[str]], name: str) -> bool:
    seen: set[str] = set()
    waiting = list(led[name])
    while waiting:
        other = waiting.pop()
        if other == name:
            return True
        if other not in seen:
            seen.add(other)
            waiting += led.get(other, ())
    return False


def _leads_to(schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        yield schema["$ref"]
    for key in IN_PLACE:
        for branch in schema.get(key, ()):
            yield from _leads_to(branch)


def _pointed_at(root: Any, pointer: str) -> Any:
    found = root
    for part in pointer.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return _NOTHING
    return found

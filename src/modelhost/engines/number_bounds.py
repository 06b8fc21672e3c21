"""Bounds for the numbers of a JSON schema that has none: a small model writes digits for ever, where it may."""

from __future__ import annotations

from typing import Any, Final

from modelhost.engines.plain_schemas import VALUES

LARGEST_NUMBER: Final = 10**15
"""As llama.cpp."""
_BOUNDS: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "const", "enum", "multipleOf"}
)


def bounded(schema: Any) -> Any:
    """Return ``schema`` with bounds for the numbers in it that have none."""
    if isinstance(schema, list):
        return [bounded(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: value if key in VALUES else bounded(value) for key, value in schema.items()}
    if changed.get("type") in ("integer", "number") and _BOUNDS.isdisjoint(changed):
        changed |= {"minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER}
    return changed

"""The form that an elicitation asks to be filled in: what it holds, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Content = dict[str, str | int | float | bool | list[str] | None]


def filled_in(schema: Mapping[str, Any], content: Mapping[str, Any]) -> Content:
    """What a form holds that was accepted with ``content``: its defaults too; `null` is a field that was left out."""
    fields = schema.get("properties") or {}
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    return {**defaults, **{name: value for name, value in content.items() if value is not None}}


def problems_of(schema: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """What is wrong with ``content``, in sentences for whoever filled it in."""
    # Here and not at the top: few conversations come to this point, and the checker is slow to import.
    from modelhost.tools.arguments import ArgumentCheck  # noqa: PLC0415

    return ArgumentCheck(dict(schema), checks_formats=True).problems(filled_in(schema, content))

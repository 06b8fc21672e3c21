"""The sections of ``docs/reference/endpoints.md`` about sound and images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelhost.http.effects import WHO, Effect
from modelhost.http.openai.effects import EFFECTS
from tools.reference.schemas import type_in_words
from tools.reference.tables import table

COLUMNS: Final = ("Field", "Type", "Required", "Default", "Who acts on it", "How")
FORM: Final = "multipart/form-data"
JSON: Final = "application/json"
KINDS: Final = {JSON: "JSON", FORM: "form"}


def media_sections(document: Mapping[str, Any]) -> str:
    """Every field of these requests, with who acts on it; ``document`` is the one of OpenAPI."""
    return "".join(_section(path, document["paths"][path]["post"], document) for path in EFFECTS)


def fields_of(described: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the schema of each field of a request, by the media types of bodies that have it."""
    found: dict[str, dict[str, Any]] = {}
    for kind, content in described["requestBody"]["content"].items():
        schema = content["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        for name, field in schema["properties"].items():
            found.setdefault(name, {})[kind] = {**field, "required": name in schema.get("required", ())}
    return found


def _section(path: str, described: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    kinds = described["requestBody"]["content"]
    rows = [
        _row(name, by_kind, EFFECTS[path][name], len(kinds)) for name, by_kind in fields_of(described, document).items()
    ]
    statuses = [(status, f"{answer['description']}.") for status, answer in described["responses"].items()]
    bodies = " or ".join(f"`{kind}`" for kind in kinds)
    return (
        f"\n## {described['summary']}: `POST {path}`\n\nThe body is {bodies}. Other fields are refused with "
        f"`unsupported_parameter`.\n\n{table(COLUMNS, rows)}\n{table(('Status', 'Meaning'), statuses)}"
    )


def _row(name: str, by_kind: Mapping[str, Any], effect: Effect, kinds: int) -> tuple[str, ...]:
    types = dict.fromkeys(_types(by_kind, kinds))
    field = next(iter(by_kind.values()))
    is_required = {each["required"] for each in by_kind.values()} == {True}
    default = field.get("default")
    return (
        f"`{name}`",
        "; ".join(types),
        "yes" if is_required else "",
        "" if default is None else f"`{json.dumps(default)}`",
        WHO[effect.who],
        effect.note or field.get("description", "").removesuffix("."),
    )


def _types(by_kind: Mapping[str, Any], kinds: int) -> Iterator[str]:
    words = {
        kind: "file" if field.get("format") == "binary" else type_in_words(field) for kind, field in by_kind.items()
    }
    is_same = len(by_kind) == kinds and len(set(words.values())) == 1
    for kind, word in words.items():
        yield word if is_same or kinds == 1 else f"{word} ({KINDS[kind]})"

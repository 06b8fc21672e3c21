"""Checks keys and values of a file against a pydantic model and says in sentences everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from modelhost.config.check import explained, suggestion

Model = TypeVar("Model", bound=BaseModel)


def read_as(schema: type[Model], value: Any, *, label: str) -> tuple[Model | None, list[str]]:
    """``value`` as a ``schema``, or everything that is wrong with it, each sentence beginning with ``label``.

    Strict: text is no number, and an unknown key is a problem if ``schema`` forbids extra ones.
    """
    try:
        return schema.model_validate(value, strict=True), []
    except ValidationError as error:
        return None, list(dict.fromkeys(f"{label}: {_sentence_about(schema, detail)}" for detail in error.errors()))


def _sentence_about(schema: type[BaseModel], detail: Mapping[str, Any]) -> str:
    place = detail["loc"]
    if not place:
        return explained(detail)
    if detail["type"] == "missing":
        return f'"{_path(place)}" is missing'
    if detail["type"] in {"extra_forbidden", "invalid_key"}:
        within = f' in "{_path(place[:-1])}"' if place[:-1] else ""
        return f'unknown key "{place[-1]}"{within}{_hint(str(place[-1]), _schema_at(schema, place[:-1]))}'
    return f'"{_path(place)}": {explained(detail)}'


def _path(place: Iterable[str | int]) -> str:
    """``("params", "stop", 0)`` as ``params.stop[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _hint(key: str, schema: type[BaseModel] | None) -> str:
    """Where ``key`` belongs, or what it is close to."""
    if schema is None:
        return ""
    for name, field in schema.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None and key in inner.model_fields:
            return f'; it belongs in "{name}"'
    return suggestion(key, schema.model_fields)


def _schema_at(schema: type[BaseModel], place: Iterable[str | int]) -> type[BaseModel] | None:
    """The model that describes the mapping at ``place``."""
    found: type[BaseModel] | None = schema
    for part in place:
        if isinstance(part, str) and found is not None:
            found = _model_in(found.model_fields[part].annotation)
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of ``Model``, ``Model | None`` or ``list[Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)

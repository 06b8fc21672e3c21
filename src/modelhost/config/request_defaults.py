"""The fields of a request that may have configured defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

LARGEST_COUNT: Final = 2**31 - 1  # engines count in 32 bits
HIGHEST_TEMPERATURE: Final = 100
"""The limit of every API; engines may have lower ones."""


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Seed = Annotated[int, Field(ge=-(2**63), le=2**64 - 1)]
"""Larger numbers are parsed as floats."""
Piece = Annotated[str, Field(min_length=1)]
Pieces = Annotated[list[Piece], Field(max_length=16)]
Stop = Annotated[Pieces, BeforeValidator(as_list, json_schema_input_type=Piece | Pieces)]


class RequestDefaults(BaseModel):
    """Fields of a request that may have a default, with the ranges that they have in a request.

    ``top_k`` -1 or 0 is off, a ``seed`` below 0 is another one each time; ``top_p`` and ``min_p`` leave
    ``min_tokens_to_keep`` at least. ``None`` is no default.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)

    max_tokens: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] | None = None
    temperature: Annotated[float, Field(ge=0, le=HIGHEST_TEMPERATURE)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    min_tokens_to_keep: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Seed | None = None
    stop: Stop | None = None


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Validate the ``values`` of a setting, in which numbers may be text, as on the command line.

    Raises:
        PydanticCustomError: with all unknown fields and values out of range in one sentence.
    """
    try:
        found = RequestDefaults.model_validate({name: _typed(value) for name, value in values.items()})
    except ValidationError as error:
        reasons = "; ".join(dict.fromkeys(_reason(detail) for detail in error.errors()))
        raise PydanticCustomError("request_defaults", "{reasons}", {"reasons": reasons}) from error
    return found.model_dump(include=found.model_fields_set)


def _typed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        number = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return number if isinstance(number, int | float) and not isinstance(number, bool) else value


def _reason(detail: Mapping[str, Any]) -> str:
    name = detail["loc"][0]
    if detail["type"] == "extra_forbidden":
        return f'"{name}" has no default; there are {", ".join(RequestDefaults.model_fields)}'
    return f'"{name}": {detail["msg"]}'

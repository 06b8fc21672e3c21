"""The values that a model's requests get where they are silent, from the registry or set while the host runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from modelhost.config.schema import read_as
from modelhost.errors import InvalidRequest

LARGEST_COUNT: Final = 2**31 - 1  # engines count in 32 bits


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Piece = Annotated[str, Field(min_length=1)]


class RequestDefaults(BaseModel):
    """Fields of a request that may have a default, with the ranges that they have in a request.

    ``top_k`` -1 or 0 is off, a ``seed`` below 0 is another one each time. ``None`` is no default.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    max_tokens: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: int | None = None
    stop: Annotated[list[Piece], Field(max_length=16), BeforeValidator(_as_list)] | None = None


NAMES: Final = tuple(RequestDefaults.model_fields)


def parse_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` checked: only those that are given, ``None`` among them for a default that is taken away.

    Raises:
        InvalidRequest: an unknown field, or a value out of its range; ``param`` is the field's name if one is wrong.
    """
    found, problems = read_as(RequestDefaults, dict(values), label="defaults")
    if found is None:
        wrong = [
            name for name in values if name not in NAMES or read_as(RequestDefaults, {name: values[name]}, label="")[1]
        ]
        message = "; ".join(problem.removeprefix("defaults: ") for problem in problems)
        raise InvalidRequest(f"{message}.", param=wrong[0] if len(wrong) == 1 else None)
    return found.model_dump(include=found.model_fields_set)

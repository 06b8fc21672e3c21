"""Timestamps as parameters: RFC 3339 with a time zone, within the years that a database supports in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

_BEGINNING: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]", re.ASCII)
_EXAMPLE: Final = "2026-01-01T12:00:00Z"


def _written(value: Any) -> Any:
    """Refuse numbers, which pydantic would guess to be seconds or milliseconds."""
    if isinstance(value, datetime) or (isinstance(value, str) and _BEGINNING.match(value)):
        return value
    raise PydanticCustomError("datetime_type", "Input should be a time such as {example}", {"example": _EXAMPLE})


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError(
            "timezone_aware", "Input should have a time zone, as {example} has", {"example": _EXAMPLE}
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("datetime_range", "Input should be in the years 1 to 9999 of UTC") from None


Timestamp = Annotated[datetime, Field(strict=False), BeforeValidator(_written), AfterValidator(_in_utc)]

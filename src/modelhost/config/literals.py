"""Literals as JSON has them, which tells numbers from booleans; to Python ``True`` is 1 and 0 is ``False``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError


def _like(literal: object) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, bool) is not isinstance(literal, bool):
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": str(literal)})
        return value

    return BeforeValidator(check)


One = Annotated[Literal[1], _like(1)]
No = Annotated[Literal[False], _like(False)]

"""Sizes of memory as people write them: bytes, ``24GB``, ``24GiB``, or a share such as ``80%``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, TypeAdapter
from pydantic_core import PydanticCustomError

# pydantic takes bits too, and anything after the unit.
_AMOUNT: Final = re.compile(r"\d+(\.\d+)?\s*([kmgtp]i?)?b?", re.IGNORECASE | re.ASCII)
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)
_BYTES: Final = TypeAdapter(ByteSize)
FORMS: Final = "a size such as 24GB, 24GiB, 24000000000 (bytes) or 80%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """An amount of bytes, or a share (0 to 1) of what there is; one of the two is there."""

    amount_bytes: int | None = None
    share: float | None = None

    def of(self, total_bytes: int) -> int:
        """The bytes that this is where there are ``total_bytes``; an amount may be more than there is."""
        return self.amount_bytes if self.amount_bytes is not None else int(total_bytes * (self.share or 0.0))


def parse_size(text: str) -> Size:
    """The size that ``text`` is. ``GB`` and ``G`` are powers of 1000, ``GiB`` and ``Gi`` powers of 1024.

    Raises:
        ValueError: it is none, or nothing; the message is the end of a sentence.
    """
    stripped = text.strip()
    if found := _SHARE.fullmatch(stripped):
        percent = float(found[1])
        if 0 < percent <= 100:
            return Size(share=percent / 100)
        raise ValueError("expected a share above 0% and up to 100%")
    if _AMOUNT.fullmatch(stripped):
        unit = stripped if stripped[-1] in "bB0123456789" else f"{stripped}B"
        amount = int(_BYTES.validate_python(unit))
        if amount > 0:
            return Size(amount_bytes=amount)
        raise ValueError("expected more than nothing")
    raise ValueError(f"expected {FORMS}")


def _as_text(value: Any) -> Any:
    """A number of bytes as text; a file or a program may give it as a number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.0f}" if is_number and math.isfinite(value) else value


def _checked(text: str) -> str:
    try:
        parse_size(text)
    except ValueError as error:
        raise PydanticCustomError("size", "{reason}", {"reason": str(error)}) from error
    return text


SizeText = Annotated[str, Field(min_length=1), BeforeValidator(_as_text), AfterValidator(_checked)]
"""Text of a setting that :func:`parse_size` takes."""

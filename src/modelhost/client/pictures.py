"""Images as a client of a host gets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelhost.operations.operation import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A whole image."""

    data: bytes
    seed: int
    """Makes the same image again."""


def progress_of(index: int, step: int, steps: int, body: Mapping[str, Any]) -> Progress:
    """Return the progress of the images that ``body`` asks for, after ``step`` of the ``steps`` of one of them."""
    count = body.get("n") or 1
    named = f" of image {index + 1}" if count > 1 else ""
    return Progress(fraction=min(1.0, (index + step / max(1, steps)) / count), message=f"step {step}/{steps}{named}")

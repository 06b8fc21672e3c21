"""Outlines: objects of classes as with OpenAI, and choices and patterns as with vLLM.

Run as ``python -P outlines.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import re
import sys
import unittest
from enum import Enum
from typing import Any, Literal

import openai
import outlines
from outlines.types import Regex
from pydantic import BaseModel, Field

URL, MODEL = sys.argv[1:]
CLIENT = openai.OpenAI(base_url=URL, api_key="unused", max_retries=0, timeout=120)
AS_OPENAI = outlines.from_openai(CLIENT, MODEL)
# With it, what Outlines knows besides JSON schemas: it sends vLLM's `structured_outputs`.
AS_VLLM = outlines.from_vllm(CLIENT, MODEL)
TEXT = "Plan a trip to Paris."
LIMITS: Any = {"temperature": 0, "max_tokens": 200}


class Kind(Enum):
    """Stands in the schema as a definition that ``Place`` refers to."""

    CITY = "city"
    VILLAGE = "village"


class Place(BaseModel, extra="forbid"):
    """Stands in the schema as a definition that ``Trip`` refers to."""

    name: str = Field(max_length=12)
    kind: Kind


class Trip(BaseModel, extra="forbid"):
    """A plan that is short enough for a tiny model."""

    place: Place
    days: int = Field(ge=1, le=30)


class Objects(unittest.TestCase):
    """JSON, asked for in both ways."""

    def test_text(self) -> None:
        assert AS_OPENAI(TEXT, **LIMITS), "no text"

    def test_object(self) -> None:
        for name, model in {"openai": AS_OPENAI, "vllm": AS_VLLM}.items():
            with self.subTest(name):
                Trip.model_validate_json(model(TEXT, Trip, **LIMITS))

    def test_streamed_object(self) -> None:
        for name, model in {"openai": AS_OPENAI, "vllm": AS_VLLM}.items():
            with self.subTest(name):
                pieces = list(model.stream(TEXT, Trip, **LIMITS))
                assert len(pieces) > 1, f"it came all at once: {pieces}"
                Trip.model_validate_json("".join(pieces))


class Texts(unittest.TestCase):
    """Texts of a form, which OpenAI's API does not have."""

    def test_one_of_several(self) -> None:
        kinds: dict[str, Any] = {"literal": Literal["city", "village"], "enum": Kind}
        for name, kind in kinds.items():
            with self.subTest(name):
                answer = AS_VLLM(TEXT, kind, **LIMITS)
                assert answer in {"city", "village"}, answer

    def test_number(self) -> None:
        answer = AS_VLLM("How many?", int, **LIMITS)
        assert re.fullmatch(r"[+-]?\d+", answer), answer

    def test_pattern(self) -> None:
        answer = AS_VLLM("When?", Regex(r"20\d\d-[01]\d"), **LIMITS)
        assert re.fullmatch(r"20\d\d-[01]\d", answer), answer


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")

"""instructor: objects of classes, by a forced tool and by a JSON schema, whole and as they grow.

Run as ``python -P instructor.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import sys
import unittest
from enum import Enum
from typing import Any

import instructor
import openai
from pydantic import BaseModel, Field

URL, MODEL = sys.argv[1:]
CLIENT = openai.OpenAI(base_url=URL, api_key="unused", max_retries=0, timeout=120)
MODES = (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA)
TALK: Any = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Plan a trip to Paris."}],
    "temperature": 0,
    "max_tokens": 200,
    "max_retries": 0,
}


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


def chats(mode: instructor.Mode) -> Any:
    """Return what makes objects in ``mode``."""
    return instructor.from_openai(CLIENT, mode=mode).chat.completions


class Objects(unittest.TestCase):
    """Each check in both modes."""

    def test_object(self) -> None:
        for mode in MODES:
            with self.subTest(mode.name):
                trip = chats(mode).create(**TALK, response_model=Trip)
                assert isinstance(trip, Trip), trip
                assert isinstance(trip.place.kind, Kind), trip

    def test_object_with_its_completion(self) -> None:
        for mode in MODES:
            with self.subTest(mode.name):
                trip, completion = chats(mode).create_with_completion(**TALK, response_model=Trip)
                assert isinstance(trip, Trip), trip
                assert completion.usage, "no usage"
                assert completion.usage.completion_tokens > 0, completion.usage

    def test_object_that_grows(self) -> None:
        for mode in MODES:
            with self.subTest(mode.name):
                # Strictly, instructor takes no text for a member of an Enum while the object grows.
                grown = list(chats(mode).create_partial(**TALK, response_model=Trip, strict=False))
                assert len(grown) > 1, f"it came all at once: {grown}"
                whole = chats(mode).create(**TALK, response_model=Trip)
                assert grown[-1].model_dump() == whole.model_dump(), (grown[-1], whole)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")

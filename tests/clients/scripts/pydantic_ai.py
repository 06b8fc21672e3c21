"""Pydantic AI: agents whose output is text or an object, by tools and by a JSON schema, with and without streams.

Run as ``python -P pydantic_ai.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import sys
import unittest
from enum import Enum
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

URL, MODEL = sys.argv[1:]
TEXT = "Plan a trip to Paris."
CLIENT = AsyncOpenAI(base_url=URL, api_key="unused", max_retries=0, timeout=120)
SETTINGS: Any = {"temperature": 0, "max_tokens": 200}


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


WAYS: dict[str, Any] = {"default": Trip, "tool": ToolOutput(Trip), "native": NativeOutput(Trip)}


def agent(**options: Any) -> Agent[None, Any]:
    """Return an agent that does not try again."""
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=CLIENT))
    return Agent(model, model_settings=SETTINGS, retries=0, **options)


class Agents(unittest.TestCase):
    """By the synchronous methods, which share an event loop."""

    def test_text(self) -> None:
        result = agent().run_sync(TEXT)
        assert result.output, result
        assert result.usage.output_tokens > 0, result.usage

    def test_streamed_text_is_the_whole_text(self) -> None:
        whole = agent().run_sync(TEXT).output
        with agent().run_stream_sync(TEXT) as result:
            pieces = list(result.stream_text(delta=True, debounce_by=None))
        assert len(pieces) > 1, f"it came all at once: {pieces}"
        assert "".join(pieces) == whole, (pieces, whole)

    def test_object(self) -> None:
        for way, output in WAYS.items():
            with self.subTest(way):
                result = agent(output_type=output).run_sync(TEXT)
                assert isinstance(result.output, Trip), result
                assert isinstance(result.output.place.kind, Kind), result

    def test_streamed_object(self) -> None:
        for way, output in WAYS.items():
            with self.subTest(way), agent(output_type=output).run_stream_sync(TEXT) as result:
                grown = list(result.stream_output(debounce_by=None))
                assert isinstance(grown[-1], Trip), grown

    def test_object_of_one_of_two_classes(self) -> None:
        result = agent(output_type=[Trip, Place]).run_sync(TEXT)
        assert isinstance(result.output, Trip | Place), result

    def test_tool_that_the_model_may_call(self) -> None:
        looked_up: list[Place] = []
        offering = agent(output_type=NativeOutput(Trip))

        @offering.tool_plain
        def look_up(place: Place) -> str:
            """Look up a place."""
            looked_up.append(place)
            return "It is there."

        result = offering.run_sync(TEXT)
        assert isinstance(result.output, Trip), result
        assert all(isinstance(place, Place) for place in looked_up), looked_up

    def test_tool_that_the_model_has_to_call(self) -> None:
        def book(place: Place, days: int) -> str:
            """Book a trip."""
            return f"{days} days in {place.name}"

        result = agent(output_type=book).run_sync(TEXT)
        assert " days in " in result.output, result


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")

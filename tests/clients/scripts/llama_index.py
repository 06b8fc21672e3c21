"""LlamaIndex's ``OpenAILike``: chats, streams, objects of classes, and tools that it runs itself.

Run as ``python -P llama_index.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import sys
import unittest
from enum import Enum
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

URL, MODEL = sys.argv[1:]
SETTINGS: dict[str, Any] = {
    "model": MODEL,
    "api_base": URL,
    "api_key": "unused",
    "temperature": 0,
    "max_tokens": 200,
    "max_retries": 0,
    "timeout": 120,
}
CLIENT = OpenAILike(is_chat_model=True, is_function_calling_model=True, **SETTINGS)
TEXT = "Plan a trip to Paris."
MESSAGES = [ChatMessage(role="user", content=TEXT)]
PROMPT = PromptTemplate("Plan a trip to {city}.")


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


def book_trip(place: Place, days: int) -> str:
    """Book a trip."""
    return f"{days} days in {Place.model_validate(place).name}"


TOOL = FunctionTool.from_defaults(book_trip, fn_schema=Trip)


class Chats(unittest.TestCase):
    """Text."""

    def test_chat(self) -> None:
        answer = CLIENT.chat(MESSAGES)
        assert answer.message.content, f"no text: {answer}"

    def test_stream_is_the_whole_answer(self) -> None:
        whole = CLIENT.chat(MESSAGES)
        pieces = list(CLIENT.stream_chat(MESSAGES))
        assert len(pieces) > 1, "it came all at once"
        assert pieces[-1].message.content == whole.message.content, (pieces[-1], whole)
        assert "".join(piece.delta or "" for piece in pieces) == whole.message.content, (pieces, whole)

    def test_completion(self) -> None:
        client = OpenAILike(is_chat_model=False, **SETTINGS)
        whole = client.complete("Once upon a time")
        assert whole.text, f"no text: {whole}"
        *_, last = client.stream_complete("Once upon a time")
        assert last.text == whole.text, (last, whole)


class Structured(unittest.TestCase):
    """Objects of a class: by a forced tool, and by a response format."""

    def test_prediction(self) -> None:
        for by_format in (False, True):
            client = OpenAILike(
                is_chat_model=True,
                is_function_calling_model=True,
                should_use_structured_outputs=by_format,
                **SETTINGS,
            )
            with self.subTest(by_format=by_format):
                trip = client.structured_predict(Trip, PROMPT, city="Paris")
                assert isinstance(trip, Trip), trip
                assert isinstance(trip.place.kind, Kind), trip

    def test_streamed_prediction(self) -> None:
        *_, last = CLIENT.stream_structured_predict(Trip, PROMPT, city="Paris")
        Trip.model_validate(last.model_dump())

    def test_structured_model(self) -> None:
        answer = CLIENT.as_structured_llm(Trip).chat(MESSAGES)
        assert isinstance(answer.raw, Trip), answer

    def test_streamed_structured_model(self) -> None:
        *_, last = CLIENT.as_structured_llm(Trip).stream_chat(MESSAGES)
        Trip.model_validate(last.raw.model_dump())


class Tools(unittest.TestCase):
    """Forced calls."""

    def test_forced_call(self) -> None:
        answer = CLIENT.chat_with_tools([TOOL], user_msg=TEXT, tool_required=True)
        (call,) = CLIENT.get_tool_calls_from_response(answer)
        assert call.tool_name == "book_trip", call
        Trip.model_validate(call.tool_kwargs)

    def test_streamed_call(self) -> None:
        *_, last = CLIENT.stream_chat_with_tools([TOOL], user_msg=TEXT, tool_required=True)
        (call,) = CLIENT.get_tool_calls_from_response(last)
        assert call.tool_name == "book_trip", call
        Trip.model_validate(call.tool_kwargs)

    def test_call_that_is_run(self) -> None:
        answer = CLIENT.predict_and_call([TOOL], user_msg=TEXT, tool_required=True)
        (result,) = answer.sources
        assert result.tool_name == "book_trip", result
        assert not result.is_error, result
        assert " days in " in answer.response, answer


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")

"""LangChain's ``ChatOpenAI`` and its siblings: chats, streams, tools, objects, embeddings, and too long a prompt.

Run as ``python -P langchain.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import sys
import unittest
from enum import Enum
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

URL, MODEL = sys.argv[1:]
HOST: dict[str, Any] = {"base_url": URL, "api_key": "unused", "model": MODEL, "max_retries": 0, "timeout": 120}
CLIENT = ChatOpenAI(temperature=0, max_tokens=200, **HOST)
TEXT = "Plan a trip to Paris."
TOO_LONG = "Once upon a time there was a model. " * 2000
METHODS: Any = ("function_calling", "json_schema")


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


class Chats(unittest.TestCase):
    """Text."""

    def test_chat(self) -> None:
        answer = CLIENT.invoke(TEXT)
        assert answer.content, f"no text: {answer}"
        assert answer.usage_metadata, f"no usage: {answer}"
        assert answer.usage_metadata["output_tokens"] > 0, answer.usage_metadata

    def test_stream_is_the_whole_answer(self) -> None:
        whole = CLIENT.invoke(TEXT)
        pieces = list(CLIENT.stream(TEXT))
        assert len(pieces) > 1, "it came all at once"
        assert "".join(str(piece.content) for piece in pieces) == whole.content, (pieces, whole)

    def test_completion(self) -> None:
        client = OpenAI(temperature=0, max_tokens=16, **HOST)
        whole = client.invoke("Once upon a time")
        assert whole, "no text"
        assert "".join(client.stream("Once upon a time")) == whole, whole

    def test_embeddings(self) -> None:
        client = OpenAIEmbeddings(check_embedding_ctx_length=False, **HOST)
        vectors = client.embed_documents(["one", "two"])
        assert len(vectors) == 2, vectors
        assert all(vectors), vectors

    def test_prompt_that_is_too_long(self) -> None:
        with self.assertRaises(ContextOverflowError):
            CLIENT.invoke(TOO_LONG)
        with self.assertRaises(ContextOverflowError):
            list(CLIENT.stream(TOO_LONG))


class Structured(unittest.TestCase):
    """Objects of a class, by a forced tool and by a JSON schema."""

    def test_object(self) -> None:
        for method in METHODS:
            with self.subTest(method):
                trip = CLIENT.with_structured_output(Trip, method=method).invoke(TEXT)
                assert isinstance(trip, Trip), trip
                assert isinstance(trip.place.kind, Kind), trip

    def test_strict_object(self) -> None:
        for method in METHODS:
            with self.subTest(method):
                trip = CLIENT.with_structured_output(Trip, method=method, strict=True).invoke(TEXT)
                assert isinstance(trip, Trip), trip

    def test_streamed_object(self) -> None:
        for method in METHODS:
            with self.subTest(method):
                *_, last = CLIENT.with_structured_output(Trip, method=method).stream(TEXT)
                assert isinstance(last, Trip), last


class Tools(unittest.TestCase):
    """Forced calls."""

    def test_forced_call(self) -> None:
        for choice in ("any", "Trip"):
            with self.subTest(choice):
                answer = CLIENT.bind_tools([Trip], tool_choice=choice).invoke(TEXT)
                (call,) = answer.tool_calls
                assert call["name"] == "Trip", call
                Trip.model_validate(call["args"])

    def test_streamed_call(self) -> None:
        first, *more = CLIENT.bind_tools([Trip], tool_choice="any").stream(TEXT)
        whole: Any = sum(more, start=first)
        (call,) = whole.tool_calls
        Trip.model_validate(call["args"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")

"""Anthropic's own client: messages, streams, tools, structured answers, counts, models and errors.

Run as ``python -P anthropic.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import asyncio
import sys
import unittest
from enum import Enum
from typing import Any

import anthropic
from pydantic import BaseModel, Field

URL, MODEL = sys.argv[1:]
ROOT = URL.removesuffix("/v1")
OPTIONS: Any = {"base_url": ROOT, "api_key": "unused", "max_retries": 0, "timeout": 120}
CLIENT = anthropic.Anthropic(**OPTIONS)
HELLO: Any = [{"role": "user", "content": "Hello!"}]
# The newest versions of the client have no `temperature`.
TALK: Any = {"model": MODEL, "max_tokens": 32, "messages": HELLO, "extra_body": {"temperature": 0}}
TOO_LONG = "Once upon a time there was a model. " * 2000


class Trip(BaseModel, extra="forbid"):
    """A plan that is short enough for a tiny model."""

    city: str = Field(max_length=12)
    days: int = Field(ge=1, le=30)


class Kind(Enum):
    """What a model chooses from."""

    CITY = "city"
    VILLAGE = "village"


class Place(BaseModel, extra="forbid"):
    """An object that ends in any case: the client removes the limits of texts and numbers from its schema."""

    kind: Kind


TOOL: Any = {"name": "book_trip", "description": "Books a trip.", "input_schema": Trip.model_json_schema()}
FORCED: Any = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "book_trip"}, "max_tokens": 200}


def text_of(message: Any) -> str:
    """Return the text of a message."""
    return "".join(block.text for block in message.content if block.type == "text")


class Messages(unittest.TestCase):
    """Whole answers and streams."""

    def test_message(self) -> None:
        message = CLIENT.messages.create(**TALK)
        assert text_of(message)
        assert (message.role, message.model) == ("assistant", MODEL)
        assert message.stop_reason in ("end_turn", "max_tokens")
        assert message.usage.output_tokens > 0

    def test_stream_is_the_whole_answer(self) -> None:
        with CLIENT.messages.stream(**TALK) as stream:
            said = "".join(stream.text_stream)
            message = stream.get_final_message()
        assert said == text_of(message)
        assert said == text_of(CLIENT.messages.create(**TALK))
        assert message.usage.output_tokens > 0

    def test_raw_stream(self) -> None:
        with CLIENT.messages.create(**TALK, stream=True) as stream:
            kinds = [event.type for event in stream]
        assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])

    def test_async_stream(self) -> None:
        async def read() -> str:
            async with (
                anthropic.AsyncAnthropic(**OPTIONS) as client,
                client.messages.stream(**TALK) as stream,
            ):
                return str(await stream.get_final_text())

        assert asyncio.run(read()) == text_of(CLIENT.messages.create(**TALK))

    def test_system_and_conversation(self) -> None:
        system: Any = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
        first = CLIENT.messages.create(**TALK, system=system)
        answer: Any = {"role": "assistant", "content": first.content}
        again = CLIENT.messages.create(**{**TALK, "messages": [*HELLO, answer, *HELLO]}, system=system)
        assert again.content
        assert (again.usage.cache_read_input_tokens or 0) > 0

    def test_stop_sequence(self) -> None:
        word = text_of(CLIENT.messages.create(**TALK)).split()[1]
        message = CLIENT.messages.create(**TALK, stop_sequences=[word])
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", word)
        assert word not in text_of(message)

    def test_thinking_of_a_model_that_does_not_think(self) -> None:
        message = CLIENT.messages.create(**TALK, thinking={"type": "adaptive"})
        assert {block.type for block in message.content} == {"text"}


class Tools(unittest.TestCase):
    """Calls of the client's tools."""

    def test_call_and_result(self) -> None:
        message = CLIENT.messages.create(**{**TALK, **FORCED})
        assert message.stop_reason == "tool_use"
        (call,) = (block for block in message.content if block.type == "tool_use")
        assert call.name == "book_trip"
        Trip.model_validate(call.input)
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Booked."}]}
        talk: Any = [*HELLO, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
        answer = CLIENT.messages.create(**{**TALK, "messages": talk, "tools": [TOOL]})
        assert answer.content

    def test_streamed_call(self) -> None:
        with CLIENT.messages.stream(**{**TALK, **FORCED}) as stream:
            pieces = [event.partial_json for event in stream if event.type == "input_json"]
            message = stream.get_final_message()
        (call,) = (block for block in message.content if block.type == "tool_use")
        assert Trip.model_validate_json("".join(pieces)) == Trip.model_validate(call.input)

    def test_no_tool(self) -> None:
        message = CLIENT.messages.create(**TALK, tools=[TOOL], tool_choice={"type": "none"})
        assert "tool_use" not in {block.type for block in message.content}

    def test_structured_answer(self) -> None:
        message = CLIENT.messages.parse(**{**TALK, "max_tokens": 200}, output_format=Place)
        assert isinstance(message.parsed_output, Place)


class Others(unittest.TestCase):
    """Counts, models and errors."""

    def test_count_is_the_usage(self) -> None:
        counted = CLIENT.messages.count_tokens(model=MODEL, messages=HELLO, tools=[TOOL], system="Be kind.")
        usage = CLIENT.messages.create(**TALK, tools=[TOOL], system="Be kind.").usage
        assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)

    def test_models(self) -> None:
        (model,) = CLIENT.models.list()
        assert (model.id, model.type) == (MODEL, "model")
        assert CLIENT.models.retrieve(MODEL) == model
        with self.assertRaises(anthropic.NotFoundError):
            CLIENT.models.retrieve("no-such-model")

    def test_names_of_claude(self) -> None:
        assert CLIENT.messages.create(**{**TALK, "model": "claude-of-tomorrow"}).model == MODEL

    def test_errors(self) -> None:
        with self.assertRaises(anthropic.NotFoundError) as missing:
            CLIENT.messages.create(**{**TALK, "model": "no-such-model"})
        assert missing.exception.request_id
        with self.assertRaisesRegex(anthropic.BadRequestError, "prompt is too long"):
            CLIENT.messages.create(**{**TALK, "messages": [{"role": "user", "content": TOO_LONG}]})
        with self.assertRaisesRegex(anthropic.BadRequestError, "temperature"):
            CLIENT.messages.create(**{**TALK, "extra_body": {"temperature": -1}})

    def test_host_tools_that_there_are_not(self) -> None:
        server: Any = {"type": "url", "name": "elsewhere", "url": "https://localhost/mcp"}
        with self.assertRaisesRegex(anthropic.BadRequestError, "remote_mcp_servers"):
            CLIENT.beta.messages.create(**TALK, mcp_servers=[server], betas=["mcp-client-2025-11-20"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

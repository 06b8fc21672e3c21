"""LiteLLM's library: chats, streams, tools, objects, responses, embeddings and the errors that it tells apart.

Run as ``python -P litellm.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import sys
import unittest
from enum import Enum
from typing import Any, ClassVar

import litellm
from pydantic import BaseModel, Field

URL, MODEL = sys.argv[1:]
litellm.suppress_debug_info = True
HOST: dict[str, Any] = {
    "model": f"openai/{MODEL}",
    "api_base": URL,
    "api_key": "unused",
    "max_retries": 0,
    "timeout": 120,
}
LIMITS: dict[str, Any] = {"temperature": 0, "max_tokens": 200}
TALK: Any = {**HOST, **LIMITS, "messages": [{"role": "user", "content": "Plan a trip to Paris."}]}
MESSAGES: Any = {**TALK, "model": f"anthropic/{MODEL}", "api_base": URL.removesuffix("/v1")}
TOO_LONG = [{"role": "user", "content": "Once upon a time there was a model. " * 2000}]


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


TOOL = {
    "type": "function",
    "function": {"name": "book_trip", "description": "Books a trip.", "parameters": Trip.model_json_schema()},
}
CHOICES: dict[str, Any] = {"named": {"type": "function", "function": {"name": "book_trip"}}, "required": "required"}


def streamed(**fields: Any) -> Any:
    """Return the whole answer that LiteLLM makes of the chunks of a stream."""
    chunks = list(litellm.completion(**TALK, stream=True, **fields))
    assert len(chunks) > 1, "it came all at once"
    return litellm.stream_chunk_builder(chunks, messages=TALK["messages"])


def check_call(answer: Any) -> None:
    """Check that ``answer`` is one call of the tool, with what the tool takes."""
    assert answer.choices[0].message.tool_calls, f"no tool call, though one is forced: {answer}"
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "book_trip", call
    assert call.id, "the call has no id"
    Trip.model_validate_json(call.function.arguments)


class Chats(unittest.TestCase):
    """Text and objects."""

    def test_chat(self) -> None:
        answer: Any = litellm.completion(**TALK)
        assert answer.choices[0].message.content, f"no text: {answer}"
        assert answer.usage.completion_tokens > 0, answer.usage

    def test_stream_is_the_whole_answer(self) -> None:
        whole: Any = litellm.completion(**TALK)
        answer = streamed(stream_options={"include_usage": True})
        assert answer.choices[0].message.content == whole.choices[0].message.content, (answer, whole)
        assert answer.usage.completion_tokens == whole.usage.completion_tokens, (answer.usage, whole.usage)

    def test_object(self) -> None:
        answer: Any = litellm.completion(**TALK, response_format=Trip)
        Trip.model_validate_json(answer.choices[0].message.content)

    def test_completion(self) -> None:
        answer: Any = litellm.text_completion(
            **{**HOST, "model": f"text-completion-openai/{MODEL}"}, prompt="Once upon a time", temperature=0
        )
        assert answer.choices[0].text, f"no text: {answer}"
        assert answer.usage.completion_tokens <= 16, answer.usage

    def test_embeddings(self) -> None:
        answer: Any = litellm.embedding(**HOST, input=["one", "two"])
        assert [each["index"] for each in answer.data] == [0, 1], answer
        assert all(each["embedding"] for each in answer.data), answer


class Tools(unittest.TestCase):
    """Forced calls."""

    def test_forced_call(self) -> None:
        for how, choice in CHOICES.items():
            with self.subTest(how):
                check_call(litellm.completion(**TALK, tools=[TOOL], tool_choice=choice))

    def test_streamed_call(self) -> None:
        for how, choice in CHOICES.items():
            with self.subTest(how):
                check_call(streamed(tools=[TOOL], tool_choice=choice))


class Anthropic(unittest.TestCase):
    """The same over Anthropic's API: the prefix ``anthropic/``, and the address without ``/v1``."""

    def streamed(self, **fields: Any) -> Any:
        """Return the whole answer that LiteLLM makes of the chunks of a stream."""
        chunks = list(litellm.completion(**MESSAGES, stream=True, **fields))
        return litellm.stream_chunk_builder(chunks, messages=TALK["messages"])

    def test_stream_is_the_whole_answer(self) -> None:
        whole: Any = litellm.completion(**MESSAGES)
        assert whole.choices[0].message.content == self.streamed().choices[0].message.content
        assert whole.usage.completion_tokens > 0, whole.usage

    def test_forced_call(self) -> None:
        for how, choice in CHOICES.items():
            with self.subTest(how):
                check_call(litellm.completion(**MESSAGES, tools=[TOOL], tool_choice=choice))
                check_call(self.streamed(tools=[TOOL], tool_choice=choice))

    def test_errors(self) -> None:
        with self.assertRaises(litellm.ContextWindowExceededError):
            litellm.completion(**{**MESSAGES, "messages": TOO_LONG})
        with self.assertRaises(litellm.NotFoundError):
            litellm.completion(**{**MESSAGES, "model": "anthropic/no-such-model"})


class Ollama(unittest.TestCase):
    """The same over Ollama's API: the prefixes ``ollama_chat/`` and ``ollama/``, and the address without ``/v1``."""

    HOST: ClassVar[Any] = {"api_base": URL.removesuffix("/v1")}
    CHAT: ClassVar[Any] = {**TALK, **HOST, "model": f"ollama_chat/{MODEL}"}

    def test_stream_is_the_whole_answer(self) -> None:
        whole: Any = litellm.completion(**self.CHAT)
        chunks = list(litellm.completion(**self.CHAT, stream=True))
        built: Any = litellm.stream_chunk_builder(chunks, messages=TALK["messages"])
        assert whole.choices[0].message.content == built.choices[0].message.content, (whole, built)
        assert whole.usage.completion_tokens > 0, whole.usage

    def test_object(self) -> None:
        answer: Any = litellm.completion(**self.CHAT, format=Trip.model_json_schema())
        Trip.model_validate_json(answer.choices[0].message.content)

    def test_prompt(self) -> None:
        answer: Any = litellm.completion(**{**self.CHAT, "model": f"ollama/{MODEL}"})
        assert answer.choices[0].message.content, f"no text: {answer}"

    def test_embeddings(self) -> None:
        answer: Any = litellm.embedding(**self.HOST, model=f"ollama/{MODEL}", input=["one", "two"])
        assert len(answer.data) == len({tuple(each["embedding"]) for each in answer.data}) == 2

    def test_errors(self) -> None:
        with self.assertRaises(litellm.NotFoundError):
            litellm.completion(**{**self.CHAT, "model": "ollama_chat/no-such-model"})


class Responses(unittest.TestCase):
    """The Responses API."""

    plan: ClassVar[Any] = {**HOST, "input": "Plan a trip to Paris.", "temperature": 0, "max_output_tokens": 200}

    def test_response_and_one_after_it(self) -> None:
        first: Any = litellm.responses(**self.plan)
        assert first.output[0].content[0].text, first
        assert first.usage.total_tokens > first.usage.input_tokens > 0, first.usage
        second: Any = litellm.responses(**{**self.plan, "input": "And then?"}, previous_response_id=first.id)
        assert second.usage.input_tokens > first.usage.input_tokens, second.usage

    def test_stream_ends_with_the_whole_response(self) -> None:
        events: Any = list(litellm.responses(**self.plan, stream=True))
        assert events[0].type == "response.created", events[0]
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert events[-1].response.output[0].content[0].text == text, events[-1]

    def test_forced_call(self) -> None:
        tool = {"type": "function", **TOOL["function"]}
        answer: Any = litellm.responses(**self.plan, tools=[tool], tool_choice="required")
        (call,) = answer.output
        Trip.model_validate_json(call.arguments)

    def test_errors(self) -> None:
        with self.assertRaises(litellm.exceptions.NotFoundError):
            litellm.responses(**{**self.plan, "model": "openai/nothing"})


class Errors(unittest.TestCase):
    """Errors that callers tell apart, to fall back on another model."""

    def test_prompt_that_is_too_long(self) -> None:
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(litellm.ContextWindowExceededError):
                litellm.completion(**{**TALK, "messages": TOO_LONG}, stream=stream)

    def test_model_that_is_not_there(self) -> None:
        with self.assertRaises(litellm.NotFoundError):
            litellm.completion(**{**TALK, "model": "openai/nothing/of-the-kind"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")

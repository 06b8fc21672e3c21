"""OpenAI's own client, of any major version: chats, tools, structured answers, responses and the other endpoints.

Run as ``python -P openai.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import json
import re
import sys
import time
import unittest
from enum import Enum
from typing import Any

import openai
from pydantic import BaseModel, Field

URL, MODEL = sys.argv[1:]
CLIENT = openai.OpenAI(base_url=URL, api_key="unused", max_retries=0, timeout=120)
# What was tried out as `beta` in version 1 is where it belongs since version 2.
CHATS: Any = CLIENT.beta.chat.completions if openai.VERSION.startswith("1.") else CLIENT.chat.completions
TALK: Any = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Plan a trip to Paris."}],
    "temperature": 0,
    "max_tokens": 200,
}
TOO_LONG = "Once upon a time there was a model. " * 2000


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


TOOL = openai.pydantic_function_tool(Trip, name="book_trip", description="Books a trip.")
ORDER = r"[A-Z]{3}-[0-9]{2}"
CUSTOM: Any = {
    "type": "custom",
    "custom": {
        "name": "order",
        "description": "Orders something.",
        "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": ORDER}},
    },
}
CHOICES: dict[str, Any] = {"named": {"type": "function", "function": {"name": "book_trip"}}, "required": "required"}


def to_the_end(**fields: Any) -> tuple[list[str], Any]:
    """Return the types of the events of a stream, and the completion that they made."""
    with CHATS.stream(**TALK, **fields) as stream:
        kinds = [event.type for event in stream]
        return kinds, stream.get_final_completion()


def the_call_of(completion: Any) -> Any:
    """Return the one tool call, which has to be a trip."""
    (choice,) = completion.choices
    assert choice.message.tool_calls, f"no tool call, though one is forced: {choice}"
    (call,) = choice.message.tool_calls
    assert call.function.name == "book_trip", f"it calls {call.function.name}"
    Trip.model_validate_json(call.function.arguments)
    return call


class Chats(unittest.TestCase):
    """Text."""

    def test_chat(self) -> None:
        completion = CLIENT.chat.completions.create(**TALK)
        assert completion.id.startswith("chatcmpl-"), completion.id
        (choice,) = completion.choices
        assert choice.message.role == "assistant", choice
        assert choice.message.content, f"no text: {choice}"
        assert choice.finish_reason in {"stop", "length"}, choice.finish_reason
        assert completion.usage, "no usage"
        assert 0 < completion.usage.completion_tokens <= 200, completion.usage

    def test_stream_is_the_whole_answer(self) -> None:
        whole = CLIENT.chat.completions.create(**TALK)
        kinds, streamed = to_the_end()
        assert "content.delta" in kinds, kinds
        assert "content.done" in kinds, kinds
        assert streamed.choices[0].message.content == whole.choices[0].message.content, (streamed, whole)
        assert streamed.choices[0].finish_reason == whole.choices[0].finish_reason, (streamed, whole)

    def test_stream_with_usage(self) -> None:
        _, streamed = to_the_end(stream_options={"include_usage": True})
        assert streamed.usage, "no usage"
        assert streamed.usage.completion_tokens > 0, streamed.usage

    def test_several_choices(self) -> None:
        completion = CLIENT.chat.completions.create(**TALK, n=2)
        assert [choice.index for choice in completion.choices] == [0, 1], completion
        assert all(choice.message.content for choice in completion.choices), completion

    def test_stream_of_several_choices(self) -> None:
        # The client counts on choices to begin in their order; chance must not decide whether they do.
        for attempt in range(5):
            with self.subTest(attempt=attempt):
                _, streamed = to_the_end(n=3)
                assert [choice.index for choice in streamed.choices] == [0, 1, 2], streamed
                assert all(choice.message.content for choice in streamed.choices), streamed

    def test_logprobs_without_alternatives(self) -> None:
        completion = CLIENT.chat.completions.create(**TALK, logprobs=True)
        logprobs = completion.choices[0].logprobs
        assert logprobs, "no logprobs"
        assert logprobs.content, "no entries"
        assert [entry.top_logprobs for entry in logprobs.content] == [[] for _ in logprobs.content], logprobs.content[0]
        assert all(entry.logprob <= 0 for entry in logprobs.content), logprobs.content

    def test_stream_with_logprobs(self) -> None:
        kinds, streamed = to_the_end(logprobs=True)
        assert "logprobs.content.delta" in kinds, sorted(set(kinds))
        logprobs = streamed.choices[0].logprobs
        assert logprobs, "no logprobs"
        assert all(entry.top_logprobs == [] for entry in logprobs.content), logprobs.content[0]


class Tools(unittest.TestCase):
    """Forced calls of a tool whose schema has definitions."""

    def test_forced_call(self) -> None:
        for how, choice in CHOICES.items():
            with self.subTest(how):
                completion = CLIENT.chat.completions.create(**TALK, tools=[TOOL], tool_choice=choice)
                assert the_call_of(completion).id, "the call has no id"

    def test_parsed_call(self) -> None:
        for how, choice in CHOICES.items():
            with self.subTest(how):
                call = the_call_of(CHATS.parse(**TALK, tools=[TOOL], tool_choice=choice))
                assert isinstance(call.function.parsed_arguments, Trip), call.function

    def test_streamed_call(self) -> None:
        for how, choice in CHOICES.items():
            with self.subTest(how):
                kinds, streamed = to_the_end(tools=[TOOL], tool_choice=choice)
                assert "tool_calls.function.arguments.delta" in kinds, sorted(set(kinds))
                assert "tool_calls.function.arguments.done" in kinds, sorted(set(kinds))
                call = the_call_of(streamed)
                assert isinstance(call.function.parsed_arguments, Trip), call.function
                whole = CLIENT.chat.completions.create(**TALK, tools=[TOOL], tool_choice=choice)
                assert json.loads(call.function.arguments) == json.loads(the_call_of(whole).function.arguments)

    def test_custom_call(self) -> None:
        asked: Any = {**TALK, "tools": [CUSTOM], "tool_choice": {"type": "custom", "custom": {"name": "order"}}}
        completion = CLIENT.chat.completions.create(**asked)
        (call,) = completion.choices[0].message.model_dump()["tool_calls"]
        assert call["id"], call
        assert (call["type"], call["custom"]["name"]) == ("custom", "order"), call
        assert re.fullmatch(ORDER, call["custom"]["input"]), call
        told = ""
        for chunk in CLIENT.chat.completions.create(**asked, stream=True):
            for piece in chunk.choices[0].delta.tool_calls or [] if chunk.choices else []:
                told += piece.model_dump()["custom"]["input"]
        assert told == call["custom"]["input"], told
        said = [
            *TALK["messages"],
            {"role": "assistant", "tool_calls": [{name: call[name] for name in ("id", "type", "custom")}]},
            {"role": "tool", "tool_call_id": call["id"], "content": "It is ordered."},
        ]
        answer = CLIENT.chat.completions.create(**{**TALK, "messages": said}, tools=[CUSTOM], tool_choice="none")
        assert answer.choices[0].message.content, answer

    def test_result_of_a_call_is_answered(self) -> None:
        call = the_call_of(CLIENT.chat.completions.create(**TALK, tools=[TOOL], tool_choice="required"))
        said = [
            *TALK["messages"],
            {"role": "assistant", "tool_calls": [call.model_dump(exclude_unset=True)]},
            {"role": "tool", "tool_call_id": call.id, "content": "It is booked."},
        ]
        completion = CLIENT.chat.completions.create(**{**TALK, "messages": said}, tools=[TOOL], tool_choice="none")
        assert completion.choices[0].message.content, completion


class Structured(unittest.TestCase):
    """Answers that are objects of a class."""

    def test_parsed_answer(self) -> None:
        completion = CHATS.parse(**TALK, response_format=Trip)
        assert isinstance(completion.choices[0].message.parsed, Trip), completion

    def test_streamed_answer(self) -> None:
        kinds, streamed = to_the_end(response_format=Trip)
        assert "content.done" in kinds, sorted(set(kinds))
        assert isinstance(streamed.choices[0].message.parsed, Trip), streamed

    def test_any_json(self) -> None:
        completion = CLIENT.chat.completions.create(**TALK, response_format={"type": "json_object"})
        (choice,) = completion.choices
        assert choice.finish_reason in {"stop", "length"}, choice
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content or ""), dict), choice


PLAN: Any = {"model": MODEL, "input": "Plan a trip to Paris.", "temperature": 0, "max_output_tokens": 200}
BOOK: Any = {
    "type": "function",
    "name": "book_trip",
    "description": "Books a trip.",
    "parameters": Trip.model_json_schema(),
    "strict": True,
}


class Responses(unittest.TestCase):
    """The Responses API."""

    def test_response(self) -> None:
        response = CLIENT.responses.create(**PLAN)
        assert response.status in {"completed", "incomplete"}, response
        assert response.output_text, response
        assert response.usage, "no usage"
        assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens

    def test_stream_is_the_whole_response(self) -> None:
        with CLIENT.responses.stream(**PLAN) as stream:
            kinds = [event.type for event in stream]
            response = stream.get_final_response()
        assert kinds[0] == "response.created", kinds
        assert kinds[-1] in {"response.completed", "response.incomplete"}, kinds
        assert response.output_text, response

    def test_parsed_response(self) -> None:
        response = CLIENT.responses.parse(**PLAN, text_format=Trip)
        assert isinstance(response.output_parsed, Trip), response

    def test_forced_call_and_its_result(self) -> None:
        response = CLIENT.responses.create(**PLAN, tools=[BOOK], tool_choice="required")
        (call,) = [item for item in response.output if item.type == "function_call"]
        Trip.model_validate_json(call.arguments)
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "It is booked."}
        answer = CLIENT.responses.create(**{**PLAN, "input": [result]}, previous_response_id=response.id)
        assert answer.previous_response_id == response.id

    def test_stored_response(self) -> None:
        response = CLIENT.responses.create(**PLAN)
        assert CLIENT.responses.retrieve(response.id).output_text == response.output_text
        assert [item.type for item in CLIENT.responses.input_items.list(response.id)] == ["message"]
        CLIENT.responses.delete(response.id)
        with self.assertRaises(openai.NotFoundError):
            CLIENT.responses.retrieve(response.id)

    def test_background(self) -> None:
        response = CLIENT.responses.create(**PLAN, background=True)
        deadline = time.monotonic() + 60
        while response.status in {"queued", "in_progress"}:
            assert time.monotonic() < deadline, response
            response = CLIENT.responses.retrieve(response.id)
        assert response.output_text, response

    @unittest.skipUnless(hasattr(CLIENT, "conversations"), "this version has none")
    def test_conversation(self) -> None:
        talk = CLIENT.conversations.create()
        CLIENT.responses.create(**PLAN, conversation=talk.id)
        CLIENT.responses.create(**{**PLAN, "input": "And then?"}, conversation=talk.id)
        roles = [item.role for item in CLIENT.conversations.items.list(talk.id, order="asc") if item.type == "message"]
        assert roles == ["user", "assistant", "user", "assistant"], roles

    def test_errors(self) -> None:
        with self.assertRaises(openai.BadRequestError) as too_long:
            CLIENT.responses.create(**{**PLAN, "input": TOO_LONG})
        assert too_long.exception.code == "context_length_exceeded", too_long.exception.body
        with self.assertRaises(openai.NotFoundError) as missing:
            CLIENT.responses.create(**PLAN, previous_response_id="resp_none")
        assert missing.exception.code == "previous_response_not_found", missing.exception.body


class Others(unittest.TestCase):
    """The other endpoints, and errors."""

    def test_completion(self) -> None:
        completion = CLIENT.completions.create(model=MODEL, prompt="Once upon a time", temperature=0)
        assert completion.id.startswith("cmpl-"), completion.id
        assert completion.usage, "no usage"
        assert completion.usage.completion_tokens <= 16, completion.usage

    def test_streamed_completion(self) -> None:
        chunks = list(CLIENT.completions.create(model=MODEL, prompt="Once upon a time", temperature=0, stream=True))
        assert {chunk.id[:5] for chunk in chunks} == {"cmpl-"}, chunks[0].id
        assert chunks[-1].choices[0].finish_reason in {"stop", "length"}, chunks[-1]

    def test_embeddings(self) -> None:
        encodings: Any = ("float", "base64", openai.NOT_GIVEN)
        for encoding in encodings:
            answer = CLIENT.embeddings.create(model=MODEL, input=["one", "two"], encoding_format=encoding)
            assert [each.index for each in answer.data] == [0, 1], answer
            assert all(each.embedding for each in answer.data), f"no numbers with {encoding}"

    def test_models(self) -> None:
        names = [model.id for model in CLIENT.models.list()]
        assert MODEL in names, f"{MODEL} is not among {names}"
        assert CLIENT.models.retrieve(MODEL).id == MODEL

    def test_prompt_that_is_too_long(self) -> None:
        said = [{"role": "user", "content": TOO_LONG}]
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(openai.BadRequestError) as caught:
                CLIENT.chat.completions.create(**{**TALK, "messages": said}, stream=stream)
            assert caught.exception.code == "context_length_exceeded", caught.exception.body

    def test_model_that_is_not_there(self) -> None:
        with self.assertRaises(openai.NotFoundError) as caught:
            CLIENT.chat.completions.create(**{**TALK, "model": "nothing/of-the-kind"})
        assert caught.exception.code == "model_not_found", caught.exception.body


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")

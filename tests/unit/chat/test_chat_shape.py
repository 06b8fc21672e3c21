"""What an answer has to be, held against what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.structured_output import RETRIES, VIOLATED, OutputSchema, checked, output_schema_of, retried
from modelhost.exchange.events import Finish, Pieces, PieceStream, Text, Usage
from modelhost.exchange.requests import ChatRequest, CompletionRequest
from modelhost.exchange.whole_answer import WholeAnswer

PAIR: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "pattern": r"\d\d", "maxLength": 3},
        "b": {"type": "number", "minimum": 1.5},
    },
    "required": ["a"],
    "if": {"properties": {"a": {"const": "00"}}},
    "then": {"required": ["b"]},
}
RIGHT, WRONG = '{"a": "12"}', '{"a": "x"}'


def request(**fields: Any) -> ChatRequest:
    found = parsed("chat", {"messages": [{"role": "user", "content": "Hi"}], **fields})
    assert isinstance(found, ChatRequest)
    return found


async def answer(*texts: str, reason: str = "stop") -> PieceStream:
    """Each text in two pieces, as one of the choices."""
    for choice, text in enumerate(texts):
        yield (Text(choice=choice, text=text[:4]),)
        yield (Text(choice=choice, text=text[4:]), Finish(choice=choice, reason=reason))
    yield (Usage(usage={"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}),)


async def whole(pieces: Pieces) -> WholeAnswer:
    found = WholeAnswer()
    async for piece in pieces:
        found.add(piece)
    return found


class Attempts:
    """Gives these answers, one after the other."""

    def __init__(self, *answers: tuple[str, ...], reason: str = "stop") -> None:
        self.answers = list(answers)
        self.made = 0
        self.reason = reason

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[PieceStream]:
        self.made += 1
        yield answer(*self.answers[self.made - 1], reason=self.reason)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (RIGHT, None),
        ('{"a": "a12"}', None),  # a pattern is found anywhere
        ('{"a": "12", "b": 1.5}', None),
        ('{"a": "x"}', '"a":'),
        ('{"a": "a123"}', "too long"),
        ('{"a": "12", "b": 1}', '"b":'),
        ('{"a": "00"}', "'b' is a required property"),
        ('{"a": ', "not JSON"),
        ("", "not JSON"),
        ("{} {}", "not JSON"),
    ],
)
def test_a_text_is_held_against_the_schema(text: str, problem: str | None) -> None:
    found = OutputSchema(PAIR).problem_of(text)
    assert (found is None) if problem is None else (found is not None and problem in found)


def test_formats_are_more_than_remarks() -> None:
    assert OutputSchema({"type": "string", "format": "date"}).problem_of('"2026-13-40"')
    assert OutputSchema({"type": "string", "format": "date"}).problem_of('"2026-12-01"') is None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": PAIR}}}, WRONG),
        ({"json_schema": PAIR}, WRONG),
        ({"response_format": {"type": "json_object"}}, "[]"),
        ({"guided_json": PAIR}, WRONG),
    ],
)
def test_a_request_says_in_several_ways_what_its_answer_has_to_be(fields: dict[str, Any], text: str) -> None:
    shape = output_schema_of(request(**fields))
    assert shape is not None
    assert shape.problem_of(text) is not None
    assert shape.problem_of(RIGHT) is None


@pytest.mark.parametrize("field", ["json_schema", "guided_json"])
def test_completions_can_have_one_too(field: str) -> None:
    asked = parsed("completions", {"prompt": "a", field: PAIR})
    assert isinstance(asked, CompletionRequest)
    shape = output_schema_of(asked)
    assert shape is not None
    assert shape.problem_of(WRONG) is not None


@pytest.mark.parametrize("fields", [{}, {"response_format": {"type": "text"}}, {"grammar": "root ::= [a]"}])
def test_other_answers_may_be_anything(fields: dict[str, Any]) -> None:
    assert output_schema_of(request(**fields)) is None


async def test_what_streams_passes_as_it_is_and_its_end_says_what_is_wrong() -> None:
    found = [piece async for piece in checked(answer(RIGHT, WRONG), OutputSchema(PAIR))]
    given = [piece async for piece in answer(RIGHT, WRONG)]
    assert found[:3] == given[:3]
    assert [event for piece in found for event in piece if isinstance(event, Text)] == [
        event for piece in given for event in piece if isinstance(event, Text)
    ]
    first, second = (event for piece in found for event in piece if isinstance(event, Finish))
    assert first.details is None
    assert second.details is not None
    assert second.details.kind == VIOLATED
    assert '"a"' in str(second.details.message)


async def test_an_answer_that_was_cut_is_no_violation() -> None:
    found = await whole(checked(answer(WRONG, reason="length"), OutputSchema(PAIR)))
    assert found.finish_details is None


async def test_what_does_not_fit_is_asked_for_again_and_all_is_paid() -> None:
    attempts = Attempts((WRONG,), (RIGHT,))
    found = await whole(retried(attempts, OutputSchema(PAIR), model="m"))
    assert (found.choice().text, found.finish_details, attempts.made) == (RIGHT, None, 2)
    assert found.usage == {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


async def test_it_is_not_asked_for_for_ever() -> None:
    attempts = Attempts(*[(WRONG,)] * (RETRIES + 2))
    found = await whole(retried(attempts, OutputSchema(PAIR), model="m"))
    assert attempts.made == RETRIES + 1
    assert found.finish_details is not None
    assert found.finish_details.kind == VIOLATED
    assert found.usage is not None
    assert found.usage["total_tokens"] == 7 * (RETRIES + 1)


async def test_one_wrong_choice_of_several_is_enough() -> None:
    attempts = Attempts((RIGHT, WRONG), (RIGHT, RIGHT))
    found = await whole(retried(attempts, OutputSchema(PAIR), model="m"))
    assert (attempts.made, found.finish_details) == (2, None)


async def test_what_was_cut_is_not_asked_for_again() -> None:
    attempts = Attempts((WRONG,), (RIGHT,), reason="length")
    await whole(retried(attempts, OutputSchema(PAIR), model="m"))
    assert attempts.made == 1

"""What tools returned is cut to what the context holds."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from modelhost.chat.tools import context_budget
from modelhost.errors import ContextLengthExceeded
from modelhost.exchange.messages import MediaPart, Message, TextPart


def result(length: int) -> Message:
    return Message(role="tool", tool_call_id="1", content="x" * length)


ASKED = Message(role="assistant", tool_calls=())


def too_long(tokens: int | None = None, context: int | None = None) -> ContextLengthExceeded:
    return ContextLengthExceeded("too long", prompt_tokens=tokens, context_length=context)


@pytest.mark.parametrize(
    ("lengths", "limit", "wanted"),
    [
        # 100,000 characters are 20,000 tokens; of 4096, 512 are kept for the answer and 584 are there already.
        ([100_000], None, 14_150),
        # The short one stays whole, and the others have the same length.
        ([1000, 50_000, 50_000], None, (14_392 - 300 - 1000) // 2),
        # They were cut already, and still have too many tokens.
        ([400_000], 100_000, 14_150),
    ],
)
def test_results_are_cut_to_the_tokens_that_are_left(lengths: list[int], limit: int | None, wanted: int) -> None:
    messages = [ASKED, *map(result, lengths)]
    found = context_budget.shorter_limit(messages, limit, too_long(20_584, 4096), 584)
    assert found == pytest.approx(wanted, abs=2)


def test_where_nobody_counts_half_of_the_results_stays() -> None:
    assert context_budget.shorter_limit([result(10_100)], None, too_long(), 0) == 4950
    assert context_budget.shorter_limit([result(10_100)], 5000, too_long(None, 4096), 0) == 2400


@pytest.mark.parametrize(
    "messages", [[], [ASKED], [result(30)], [Message(role="tool", content=(MediaPart("image_url"),))]]
)
def test_where_nothing_can_be_cut_there_is_no_length(messages: list[Message]) -> None:
    assert context_budget.shorter_limit(messages, None, too_long(5000, 4096), 4000) is None


def test_without_any_room_there_is_no_length() -> None:
    assert context_budget.shorter_limit([result(10_000)], None, too_long(9000, 4096), 4000) is None


def test_a_cut_is_noted_and_what_fits_stays() -> None:
    messages = [Message(role="user", content="x" * 100), ASKED, result(10), result(2000)]
    *same, cut = context_budget.truncated(messages, 1000)
    assert same == messages[:-1]
    note = "[cut: the first 1,000 characters of 2,000 are shown; the context of the model holds no more]"
    assert cut == replace(result(0), content=f"{'x' * 1000}\n{note}")
    assert context_budget.truncated(messages, None) == messages


def test_the_text_of_messages_is_all_of_it() -> None:
    contents = ["one", None, (TextPart("two"), MediaPart("image_url"))]
    assert context_budget.text_of([Message(role="user", content=content) for content in contents]) == "one\n\ntwo\n"

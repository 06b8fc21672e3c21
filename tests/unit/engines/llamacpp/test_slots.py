"""Which slot of llama.cpp holds a conversation: decided by what templates and models have made of its messages."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.engines.llamacpp.slots import Slot, is_conversation, slot_of

SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "Hello!"}
HI = {"role": "assistant", "content": "Hi there."}
BYE = {"role": "user", "content": [{"type": "text", "text": "Good "}, {"type": "text", "text": "bye"}]}
GONE = {"role": "assistant", "content": "See you."}
CALLING = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the sky"}'}}],
}
OPENING = "<|im_start|>systemBebrief.<|im_end|><|im_start|>userHello!"
HEAD = "<|im_start|>system\nBe brief.<|im_end|>\n"
FIRST = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nHi there."
SECOND = "<|im_end|>\n<|im_start|>user\nGood bye<|im_end|>\n<|im_start|>assistant\nSee you."
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "the sky"}}\n</tool_call>'


def _slot(number: int, text: str, **more: Any) -> Slot:
    return Slot(**{"id": number, "task": number, "is_busy": False, "text": text, "tokens": 0, **more})


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (HEAD + FIRST, [SYSTEM, HELLO, HI]),
        (HEAD + FIRST + "<|im_end|>\n", [SYSTEM, HELLO, HI]),
        (HEAD + FIRST + SECOND, [SYSTEM, HELLO, HI, BYE, GONE]),
        (HEAD.replace("brief.", "brief.\n\n# Tools\nSay Hello! " + 400 * "x") + FIRST, [SYSTEM, HELLO, HI]),
        (HEAD + FIRST.replace("Hi", "<think>They greet.</think>Hi"), [SYSTEM, HELLO, HI]),
        (HEAD + FIRST.replace("Hi there.", CALL), [SYSTEM, HELLO, CALLING]),
    ],
)
def test_a_text_with_all_messages_in_their_order_is_the_conversation(text: str, messages: list[dict[str, Any]]) -> None:
    assert is_conversation(text, messages, OPENING)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", [SYSTEM, HELLO, HI]),
        (HEAD + FIRST, []),
        (HEAD + FIRST, [SYSTEM]),
        (HEAD + FIRST, [SYSTEM, HELLO, HI, BYE, GONE]),
        (HEAD + FIRST + SECOND + SECOND, [SYSTEM, HELLO, HI]),
        (HEAD + FIRST.replace("Hi there.", CALL), [SYSTEM, HELLO]),
        (HEAD.replace("brief", "kind") + FIRST, [SYSTEM, HELLO, HI]),
        (HEAD + SECOND + "<|im_end|>\n" + FIRST, [SYSTEM, HELLO, HI]),
        (HEAD + FIRST + SECOND, [SYSTEM, BYE, GONE]),
        (HEAD + FIRST + SECOND, [SYSTEM, HELLO, BYE, HI, GONE]),
    ],
)
def test_what_is_more_or_less_or_another_is_not(text: str, messages: list[dict[str, Any]]) -> None:
    assert not is_conversation(text, messages, OPENING)
    assert not is_conversation(HEAD + FIRST, [SYSTEM, HELLO, HI], "")


def test_a_slot_that_still_holds_it_is_preferred_and_a_busy_one_left_alone() -> None:
    messages, text = [SYSTEM, HELLO, HI], HEAD + FIRST
    moved, held, busy = _slot(5, text), _slot(3, text, tokens=20), _slot(9, text, tokens=20, is_busy=True)
    assert slot_of([moved, held, busy], messages, OPENING) is held
    assert slot_of([moved, busy], messages, OPENING) is moved
    assert slot_of([busy, _slot(1, "")], messages, OPENING) is None


def test_of_a_text_that_was_only_brought_back_the_token_after_it_is_no_part() -> None:
    told = {"id": 1, "id_task": 4, "is_processing": False, "n_prompt_tokens": 7, "prompt": "a b", "generated": " c"}
    assert Slot.of({**told, "params": {"n_predict": 20}}).text == "a b c"
    assert Slot.of({**told, "params": {"n_predict": 0}}) == _slot(1, "a b", task=4, tokens=7)
    assert Slot.of({"id": 1, "is_processing": False}) == _slot(1, "", task=-1)


def test_a_conversation_with_a_neutralised_name_is_found() -> None:
    asked = {"role": "user", "content": "Hello! What is <|im_end|>?"}
    text = HEAD + FIRST.replace("Hello!", "Hello! What is <\u200b|im_end|>?")
    opening = OPENING.replace("Hello!", "Hello!Whatis<|im_end|>?")
    assert is_conversation(text, [SYSTEM, asked, HI], opening)

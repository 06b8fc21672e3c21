"""Answers in channels (gpt-oss): what is thought, what is said, what is called, however the text is cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from modelhost.engines.tool_calls.calls import ToolCallFormat
from modelhost.engines.tool_calls.forms import FORMS
from modelhost.engines.worker.reader import ChatReader
from tests.support.answer_reading import PLACES, cut, read

TOOLS = [{"type": "function", "function": {"name": "add"}}]
CALLING = ToolCallFormat(form=FORMS["openai"], tools=TOOLS)
THOUGHT = "<|channel|>analysis<|message|>I < add.<|end|>"
CALL = "<|channel|>commentary to=functions.add <|constrain|>json<|message|>"


def _read(text: str, places: list[int], calling: ToolCallFormat | None = CALLING) -> dict[str, Any]:
    return read(cut(text, places), calling)


def _whole(content: str = "", reasoning: str = "", *calls: list[str]) -> dict[str, Any]:
    return {"content": content, "reasoning_content": reasoning, "calls": list(calls)}


@given(places=PLACES)
def test_the_final_channel_is_the_answer_and_the_analysis_the_reasoning(places: list[int]) -> None:
    text = f"{THOUGHT}<|start|>assistant<|channel|>final<|message|>It is <|so|>."
    for end in ("", "<|return|>"):
        for calling in (CALLING, None):
            assert _read(text + end, places, calling) == _whole("It is <|so|>.", "I < add.")


@given(places=PLACES)
def test_a_preamble_is_said_before_the_call(places: list[int]) -> None:
    text = (
        f"{THOUGHT}<|start|>assistant<|channel|>commentary<|message|>I add:<|end|>"
        f'<|start|>assistant{CALL}{{"a": "}}<|end|>"}}'
    )
    wanted = _whole("I add:", "I < add.", ["add", '{"a": "}<|end|>"}'])
    assert _read(text, places) == _read(text + "\n<|call|>", places) == wanted


@given(places=PLACES)
def test_what_is_said_in_several_messages_is_kept_apart(places: list[int]) -> None:
    said = ["<|channel|>commentary<|message|>One.", "<|channel|>analysis<|message|>Two.", "<|channel|>final<|message|>"]
    for end in ("<|end|><|start|>assistant", "<|end|>", ""):
        assert _read(end.join([*said, ""]), places) == _whole("One.", "Two.")
        assert _read(end.join(said) + "Three.", places) == _whole("One.\n\nThree.", "Two.")


@given(places=PLACES)
def test_the_recipient_may_stand_before_the_channel(places: list[int]) -> None:
    text = f"{THOUGHT}<|start|>assistant to=functions.add<|channel|>commentary json<|message|>{{}}<|call|>"
    assert _read(text, places) == _whole("", "I < add.", ["add", "{}"])


@given(places=PLACES)
def test_without_tools_or_for_another_recipient_a_call_is_text(places: list[int]) -> None:
    assert _read(f"{THOUGHT}{CALL}{{}}<|call|>", places, None) == _whole(f"{CALL}{{}}", "I < add.")
    search = "<|channel|>analysis to=browser.search code<|message|>{}"
    assert _read(search, places) == _whole(search)


@given(places=PLACES)
def test_what_does_not_begin_as_a_message_is_read_as_any_answer(places: list[int]) -> None:
    for text in ("the answer", "<|start", "to=me", "<|start|>user<|message|>Q", f"<|channel|>{'x' * 300}"):
        assert _read(text, places) == _whole(text)
    assert _read("<think>Why?</think>So.", places, None) == _whole("So.", "Why?")


@given(places=PLACES)
def test_a_message_that_does_not_follow_as_one_is_text(places: list[int]) -> None:
    assert _read(f"{THOUGHT}So be it.", places) == _whole("So be it.", "I < add.")
    assert _read(f"{THOUGHT}{CALL}soon<|end|>", places) == _whole(f"{CALL}soon", "I < add.")


@pytest.mark.parametrize("end", ["", "<|st", "<|start|>assistant", "<|start|>assistant<|channel|>fin"])
def test_a_header_that_is_cut_off_is_no_text(end: str) -> None:
    assert _read(THOUGHT + end, []) == _whole("", "I < add.")


def test_a_beginning_that_is_no_header_is_text() -> None:
    assert _read(THOUGHT + "to", []) == _whole("to", "I < add.")


def test_a_marker_that_is_cut_off_is_part_of_what_it_stands_in() -> None:
    assert _read("<|channel|>analysis<|message|>I <|e", []) == _whole("", "I <|e")
    assert _read("<|channel|>final<|message|>I <|e", []) == _whole("I <|e")


def test_with_one_call_the_answer_ends_with_it() -> None:
    reader = ChatReader(calling=ToolCallFormat(form=FORMS["openai"], tools=TOOLS, one_call=True), reads_reasoning=True)
    reader.feed(f"{THOUGHT}{CALL}{{}}")
    assert reader.is_done
    assert reader.feed(f"<|call|>{CALL}{{}}") == reader.finish() == []

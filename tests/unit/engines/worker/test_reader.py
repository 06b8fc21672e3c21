"""Text that comes in pieces: stop strings, reasoning, tool calls, characters. However it is cut, the result is one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from modelhost.engines.tool_calls.calls import ToolCallFormat
from modelhost.engines.tool_calls.forms import FORMS, HERMES
from modelhost.engines.worker.reader import ChatReader, StopFinder
from modelhost.engines.worker.text import Vocabulary
from tests.support import answer_reading
from tests.support.answer_reading import PLACES, cut
from tests.support.nano_hf import nano_vocabulary, new_nano_tokenizer

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": "}\\"{", "b": [1, {"c": 2}]}}\n</tool_call>'
CALLING = ToolCallFormat(form=HERMES, tools=[])
ARGUMENTS = {"a": '}"{', "b": [1, {"c": 2}]}


def read(pieces: list[str], calling: ToolCallFormat | None = CALLING, **options: bool) -> dict[str, Any]:
    return answer_reading.read(pieces, calling, **options)


@given(places=PLACES)
def test_a_stop_string_is_found_however_the_text_is_cut(places: list[int]) -> None:
    finder = StopFinder(["</end>", "END"])
    passed = "".join(finder.feed(piece) for piece in cut("one </en <E EN two</end>three END", places))
    assert (passed + finder.finish(), finder.is_found) == ("one </en <E EN two", True)


@given(places=PLACES)
def test_without_a_stop_string_all_of_the_text_is_passed_on(places: list[int]) -> None:
    finder = StopFinder(["abab", "bc"])
    text = "aba ab abaab b"
    assert "".join(finder.feed(piece) for piece in cut(text, places)) + finder.finish() == text
    assert not finder.is_found


@given(places=PLACES)
def test_reasoning_text_and_calls_are_told_apart(places: list[int]) -> None:
    text = f"<think>\nwhy < not\n</think>\n\nI call:\n{CALL}\n{CALL}"
    whole = read(cut(text, places))
    assert (whole["reasoning_content"], whole["content"]) == ("why < not", "I call:")
    assert [(name, json.loads(arguments)) for name, arguments in whole["calls"]] == [("add", ARGUMENTS)] * 2


@given(places=PLACES)
def test_reasoning_that_the_prompt_began_ends_where_it_ends(places: list[int]) -> None:
    whole = read(cut("so it is</think>yes <think> is a word here", places), is_thinking=True)
    assert (whole["reasoning_content"], whole["content"]) == ("so it is", "yes <think> is a word here")


@given(places=PLACES)
def test_what_is_no_call_stays_text(places: list[int]) -> None:
    text = "a <tool <tool_call>no json</tool_call> b <tool_cal"
    whole = read(cut(text, places), reads_reasoning=False)
    assert whole["calls"] == []
    assert "".join(whole["content"].split()) == "".join(text.split())


@given(places=PLACES)
def test_the_thoughts_and_the_frame_of_cohere_are_no_text(places: list[int]) -> None:
    text = "<|START_THINKING|>I <b> look.<|END_THINKING|><|START_RESPONSE|>It is <|so|>.\n<|END_RESPONSE|>"
    for calling in (CALLING, None):
        whole = read(cut(text, places), calling=calling)
        assert (whole["reasoning_content"], whole["content"]) == ("I <b> look.", "It is <|so|>.")
    whole = read(cut(text.removeprefix("<|START_THINKING|>"), places), is_thinking=True)
    assert (whole["reasoning_content"], whole["content"]) == ("I <b> look.", "It is <|so|>.")


@given(places=PLACES)
def test_a_frame_that_the_prompt_began_ends_where_it_ends(places: list[int]) -> None:
    assert read(cut("It is so.<|END_TEXT|>\n", places))["content"] == "It is so."


@given(places=PLACES)
def test_a_frame_within_a_text_is_text(places: list[int]) -> None:
    text = "Write <|START_TEXT|> and <|END_TEXT|> around <think> it."
    assert read(cut(text, places))["content"] == text
    framed = "<|START_TEXT|>It is <|END_TEXT|> so."
    assert read(cut(framed, places), reads_reasoning=False)["content"] == framed


@given(places=PLACES)
def test_an_action_may_follow_thoughts(places: list[int]) -> None:
    text = (
        "<|START_THINKING|>I add.<|END_THINKING|><|START_ACTION|>[\n"
        '    {"tool_call_id": "0", "tool_name": "add", "parameters": {"a": 1}}\n]<|END_ACTION|>'
    )
    calling = ToolCallFormat(form=FORMS["cohere_command3"], tools=[])
    whole = read(cut(text, places), calling=calling)
    assert whole == {"content": "", "reasoning_content": "I add.", "calls": [["add", '{"a": 1}']]}
    said = read(
        cut("<|START_RESPONSE|>So:<|END_RESPONSE|>" + text.partition("<|END_THINKING|>")[2], places), calling=calling
    )
    assert said == {"content": "So:", "reasoning_content": "", "calls": [["add", '{"a": 1}']]}


def test_without_tools_a_call_is_text() -> None:
    assert read([CALL], calling=None) == {"content": CALL, "reasoning_content": "", "calls": []}


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ('{"arguments": {"a": 1}, "name": "add"}', '{"a":1}'),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', '{"a": 1}'),
        ('{"name": "add", "parameters": {"a": 1}}', '{"a": 1}'),
        ('{"name": "add"}', "{}"),
    ],
)
def test_other_forms_of_a_call_are_read_too(call: str, arguments: str) -> None:
    assert read([f"<tool_call>{call}</tool_call>"])["calls"] == [["add", arguments]]


def test_a_call_that_is_cut_off_has_what_there_is_of_it() -> None:
    assert read(['<tool_call>{"name": "add", "arguments": {"a"'])["calls"] == [["add", '{"a"']]
    assert read(['<tool_call>{"name": "ad'])["content"] == '<tool_call>{"name": "ad'


def test_with_one_call_the_answer_is_over() -> None:
    reader = ChatReader(calling=ToolCallFormat(form=HERMES, tools=[], one_call=True), reads_reasoning=False)
    reader.feed(CALL)
    assert reader.is_done
    assert reader.feed(CALL) == reader.finish() == []


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return nano_vocabulary()


@pytest.mark.parametrize("text", ["Grüße 你好 🙂 é", " leading", "<tool_call>{}</tool_call>", "a\n\n b"])
def test_no_character_is_split(vocabulary: Vocabulary, text: str) -> None:
    tokens = vocabulary.encode(text, add_special=False)
    stream = vocabulary.stream()
    pieces = [stream.feed(token) for token in tokens]
    assert "".join(pieces) == text
    assert not [piece for piece in pieces if "\ufffd" in piece]


def test_special_tokens_are_no_text(vocabulary: Vocabulary) -> None:
    stream = vocabulary.stream()
    tokens = vocabulary.encode("a<|im_end|>b", add_special=False)
    assert "".join(map(stream.feed, tokens)) == "ab"


def test_markers_of_the_parts_of_an_answer_are_text_where_a_model_has_them() -> None:
    tokenizer = new_nano_tokenizer()
    tokenizer.add_tokens(["<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|end|>", "<|other|>"], special_tokens=True)
    text = "<|START_RESPONSE|>a<|other|><|end|><|END_RESPONSE|>"
    for added, wanted in (
        ([], "<|START_RESPONSE|>a<|END_RESPONSE|>"),
        (["<|channel|>"], "<|START_RESPONSE|>a<|end|><|END_RESPONSE|>"),
    ):
        tokenizer.add_tokens(added, special_tokens=True)
        vocabulary = Vocabulary(tokenizer)
        stream = vocabulary.stream()
        assert "".join(map(stream.feed, vocabulary.encode(text, add_special=False))) == wanted

"""Tool calls in each form that models write them: read however the text is cut, and held to by a grammar."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhost.engines.tool_calls.calls import ToolCallFormat
from modelhost.engines.tool_calls.forms import FORMS, form_of_template
from modelhost.engines.worker.asgi import ErrorResponse
from modelhost.engines.worker.grammars import GrammarConstraint, Grammars
from modelhost.engines.worker.reader import ChatReader
from modelhost.engines.worker.text import Vocabulary
from tests.support import call_texts, marked_call_texts
from tests.support.call_texts import CALLS, TOOLS
from tests.support.nano_hf import END_TOKEN, nano_grammars, nano_vocabulary, new_nano_tokenizer

WRITTEN = {**call_texts.WRITTEN, **marked_call_texts.WRITTEN}
NO_CALLS = {**call_texts.NO_CALLS, **marked_call_texts.NO_CALLS}
ALSO_READ = [*call_texts.ALSO_READ, *marked_call_texts.ALSO_READ]
TEMPLATES = {**call_texts.TEMPLATES, **marked_call_texts.TEMPLATES}

BARE = {"llama3_json", "llama4_json", "llama4_pythonic", "openai"}
WHOLE = {"llama4_pythonic", "lfm2", "functiongemma", "gemma4"}
"""Those whose calls are told when all of a call is there."""
PLACES = st.lists(st.integers(min_value=0, max_value=10_000), max_size=40)


def _cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _read(name: str, pieces: list[str], *, one_call: bool = False) -> tuple[str, list[tuple[str, str]], int]:
    """Return the text, the calls, and in how many pieces they came."""
    calling = ToolCallFormat(form=FORMS[name], tools=TOOLS, one_call=one_call)
    reader = ChatReader(calling=calling, reads_reasoning=False)
    content, calls, count = "", [], 0
    for delta in [*(delta for piece in pieces for delta in reader.feed(piece)), *reader.finish()]:
        content += delta.get("content", "")
        for piece in delta.get("tool_calls", ()):
            count += 1
            if "id" in piece:
                assert piece["index"] == len(calls)
                calls.append((piece["function"]["name"], ""))
            called, arguments = calls[piece["index"]]
            calls[piece["index"]] = (called, arguments + piece["function"]["arguments"])
    return content, calls, count


def _parsed(calls: list[tuple[str, str]]) -> list[tuple[str, Any]]:
    return [(name, json.loads(arguments)) for name, arguments in calls]


def test_every_form_is_tried() -> None:
    assert WRITTEN.keys() == FORMS.keys()


@pytest.mark.parametrize("name", WRITTEN)
@settings(max_examples=25, deadline=None)
@given(places=PLACES)
def test_calls_are_read_however_the_text_is_cut(name: str, places: list[int]) -> None:
    content, calls, _ = _read(name, _cut(WRITTEN[name][1], places))
    assert (content.strip(), _parsed(calls)) == ("", CALLS)


@pytest.mark.parametrize("name", sorted(WRITTEN.keys() - BARE))
@settings(max_examples=25, deadline=None)
@given(places=PLACES)
def test_text_before_calls_is_text(name: str, places: list[int]) -> None:
    content, calls, _ = _read(name, _cut(f"I look <it> up [now].\n{WRITTEN[name][1]}", places))
    assert (content, _parsed(calls)) == ("I look <it> up [now].", CALLS)


@pytest.mark.parametrize("name", sorted(WRITTEN.keys() - WHOLE))
def test_arguments_come_while_they_are_written(name: str) -> None:
    assert _read(name, list(WRITTEN[name][0][0]))[2] > 20


@pytest.mark.parametrize("name", WRITTEN)
def test_with_one_call_the_others_are_not_told(name: str) -> None:
    for pieces in ([WRITTEN[name][1]], list(WRITTEN[name][1])):
        assert _parsed(_read(name, pieces, one_call=True)[1]) == CALLS[:1]


@pytest.mark.parametrize("name", WRITTEN)
@settings(max_examples=25, deadline=None)
@given(end=st.integers(min_value=1), places=PLACES)
def test_what_is_cut_off_is_a_part_of_a_call_or_text(name: str, end: int, places: list[int]) -> None:
    text = WRITTEN[name][0][0]
    text = text[: end % len(text)]
    content, calls, _ = _read(name, _cut(text, places))
    if calls:
        assert content == ""
        assert calls[0][0] == "forecast"
    else:
        assert content == text


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in NO_CALLS.items() for text in texts])
@settings(max_examples=25, deadline=None)
@given(places=PLACES)
def test_what_is_no_call_stays_text(name: str, text: str, places: list[int]) -> None:
    content, calls, _ = _read(name, _cut(text + " and so on", places))
    assert ("".join(content.split()), calls) == ("".join(text.split()) + "andsoon", [])


@pytest.mark.parametrize(("name", "text", "wanted"), ALSO_READ)
@settings(max_examples=25, deadline=None)
@given(places=PLACES)
def test_variations_are_read_too(name: str, text: str, wanted: list[tuple[str, Any]], places: list[int]) -> None:
    content, calls, _ = _read(name, _cut(text, places))
    assert (content, _parsed(calls)) == ("", wanted)


@pytest.mark.parametrize("name", WRITTEN)
def test_text_after_a_call_is_text(name: str) -> None:
    for pieces in ([WRITTEN[name][0][1], " Done."], list(f"{WRITTEN[name][0][1]} Done.")):
        content, calls, _ = _read(name, pieces)
        assert (content, _parsed(calls)) == ("Done.", CALLS[1:])


@pytest.mark.parametrize("name", sorted(BARE))
@given(places=PLACES)
@settings(max_examples=25, deadline=None)
def test_a_call_without_a_marker_may_follow_thoughts(name: str, places: list[int]) -> None:
    reader = ChatReader(calling=ToolCallFormat(form=FORMS[name], tools=TOOLS), reads_reasoning=True)
    pieces = _cut(f"<think>\n[{{why}}]\n</think>\n\n{WRITTEN[name][1]}", places)
    deltas = [*(delta for piece in pieces for delta in reader.feed(piece)), *reader.finish()]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "[{why}]"
    names = [piece["function"].get("name") for delta in deltas for piece in delta.get("tool_calls", ())]
    assert [each for each in names if each] == ["forecast", "now"]


def test_json_that_cannot_become_a_call_is_passed_on_as_it_comes() -> None:
    for name, text in (("llama3_json", '{"city'), ("llama4_pythonic", "[1, 2")):
        reader = ChatReader(calling=ToolCallFormat(form=FORMS[name], tools=TOOLS), reads_reasoning=False)
        assert reader.feed(text) == [{"content": text}]
        assert reader.feed(" and more") == [{"content": " and more"}]


def _takes(constraint: GrammarConstraint, text: str) -> bool:
    """Whether ``constraint`` takes ``text`` token by token, and nothing after it."""
    for token in nano_vocabulary().encode(text, add_special=False):
        mask = constraint.allowed()
        if constraint.is_complete or (mask is not None and not mask[token]):
            return False
        constraint.accept(token)
    return constraint.is_complete


def _forced(name: str, tools: list[dict[str, Any]] = TOOLS) -> GrammarConstraint:
    return nano_grammars().of_lark(FORMS[name].grammar(tools, nano_vocabulary().added), param="tools")


@pytest.mark.parametrize("name", WRITTEN)
def test_a_demanded_call_is_one_of_the_tools(name: str) -> None:
    for text in WRITTEN[name][0]:
        assert _takes(_forced(name), text)
        assert not _takes(_forced(name), "I call " + text)
        assert not _takes(_forced(name), text.replace("forecast", "fly").replace("now", "then"))
    forecast = WRITTEN[name][0][0]
    assert not _takes(_forced(name), forecast.replace("-23.5", '"far"'))
    assert not _takes(_forced(name), forecast.replace("days", "weeks"))
    assert not _takes(_forced(name), forecast.replace("São", "São" * 20))


@pytest.mark.parametrize("name", WRITTEN)
def test_arguments_that_need_not_be_there_may_be_left_out(name: str) -> None:
    optional = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "now", "parameters": optional}}]
    assert _takes(_forced(name, tools), WRITTEN[name][0][1])


def test_a_schema_that_leads_to_itself_is_held_to() -> None:
    node = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
    plan = {"type": "object", "properties": {"root": {"$ref": "#/$defs/node"}}, "required": ["root"]}
    tools = [{"type": "function", "function": {"name": "tree", "parameters": {**plan, "$defs": {"node": node}}}}]
    shape = "<tool_call>\n<function=tree>\n<parameter=root>\n{}\n</parameter>\n</function>\n</tool_call>"
    assert _takes(_forced("qwen3_coder", tools), shape.format('{"kids": [{"kids": []}]}'))
    assert not _takes(_forced("qwen3_coder", tools), shape.format('{"kids": [5]}'))


def test_a_text_behind_a_reference_is_a_text() -> None:
    plan = {"type": "object", "properties": {"a": {"$ref": "#/$defs/word"}}, "$defs": {"word": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "say", "parameters": plan}}]
    text = "<tool_call>\n<function=say>\n<parameter=a>\n[5]\n</parameter>\n</function>\n</tool_call>"
    assert _takes(_forced("qwen3_coder", tools), text)
    reader = ChatReader(calling=ToolCallFormat(form=FORMS["qwen3_coder"], tools=tools), reads_reasoning=False)
    pieces = [piece for delta in reader.feed(text) for piece in delta["tool_calls"]]
    assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == {"a": "[5]"}


def test_arguments_that_the_schema_does_not_name_are_not_written() -> None:
    plan: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for more, is_taken in (({}, False), ({"additionalProperties": True}, True)):
        tools = [{"type": "function", "function": {"name": "f", "parameters": {**plan, **more}}}]
        assert _takes(_forced("mistral", tools), '[TOOL_CALLS]f[ARGS]{"a": 1, "b": 2}') is is_taken


def test_a_schema_that_is_none_is_refused() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "strange"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    for name in WRITTEN:
        with pytest.raises(ErrorResponse) as refused:
            _forced(name, tools)
        assert refused.value.status == 400


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_tells_the_form(name: str) -> None:
    assert form_of_template(TEMPLATES[name]) is FORMS[name]


def test_a_template_with_other_calls_has_no_form() -> None:
    for template in ('<function=example>{"a": 1}</function> <|python_tag|> "parameters"', "<|START_ACTION|>", ""):
        assert form_of_template(template) is None


@pytest.mark.parametrize("name", WRITTEN)
def test_markers_may_be_special_tokens(name: str) -> None:
    """As with most models: a grammar has to ask for the token, and it must not vanish from what is read."""
    tokenizer = new_nano_tokenizer()
    tokenizer.add_tokens(sorted(FORMS[name].markers), special_tokens=True)
    vocabulary = Vocabulary(tokenizer)
    grammars = Grammars(tokenizer, vocab_size=len(tokenizer), eos_ids=frozenset({END_TOKEN}))
    for text, wanted in zip(WRITTEN[name][0], CALLS, strict=True):
        tokens = vocabulary.encode(text, add_special=False)
        constraint = grammars.of_lark(FORMS[name].grammar(TOOLS, vocabulary.added), param="tools")
        for token in tokens:
            mask = constraint.allowed()
            assert mask is not None
            assert mask[token], vocabulary.piece(token)
            constraint.accept(token)
        assert constraint.is_complete
        stream = vocabulary.stream(FORMS[name].markers)
        content, calls, _ = _read(name, [stream.feed(token) for token in tokens])
        assert (content, _parsed(calls)) == ("", [wanted])

"""Answers of llama.cpp by llguidance."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelhost.engines.launch import ModelSpec, Ready
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.features import PART_BYTES, has_llguidance
from modelhost.engines.llamacpp.grammars import constraint_of, may_think_first, with_schema_grammar
from modelhost.engines.schemas.rules import PATTERN
from modelhost.errors import InvalidRequest, UnsupportedParameter

BEGINNING = "%llguidance {}\nstart: %json "
READY = Ready(url="", guided=frozenset({"chat"}), features=("LLGUIDANCE",))


def asked(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, **more}


def shown(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that llguidance is shown."""
    body = with_schema_grammar(asked(schema))
    assert "response_format" not in body
    assert body["grammar"].startswith(BEGINNING)
    found: dict[str, Any] = json.loads(body["grammar"].removeprefix(BEGINNING))
    assert found.pop("x-guidance")["lenient"]
    return found


def test_a_worker_that_takes_grammars_gets_one() -> None:
    engine, body = LlamaCpp(), asked({"type": "object"})
    assert "grammar" in engine.finalize("chat", body, READY)
    assert "response_format" in body
    assert engine.finalize("chat", body, Ready(url="")) is body
    assert engine.finalize("completions", body, READY) is body


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_object"}},
        asked({"type": "object"}, tools=[{}]),
        asked({"type": "object"}, grammar="root ::= [a]"),
    ],
)
def test_other_requests_stay_as_they_are(body: dict[str, Any]) -> None:
    assert with_schema_grammar(body) is body


def test_what_it_would_fail_at_is_left_out() -> None:
    schema = {
        "properties": {
            "back": {"anyOf": [{"$ref": "#/$defs/x", "type": "object"}, {"type": "null"}]},
            "around": {"type": "string", "pattern": "^(?!a)"},
            "known": {"type": "string", "pattern": r"^\d{3}-\d{2}$"},
            "pattern": {"type": "string", "default": {"$ref": "a", "type": "b"}},
        },
        "$defs": {"x": {"type": "object", "additionalProperties": {"$ref": "#/$defs/x", "type": "object"}}},
    }
    assert shown(schema) == {
        "properties": {
            "back": {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}]},
            "around": {"type": "string"},
            "known": {"type": "string", "pattern": r"^\d{3}-\d{2}$"},
            "pattern": {"type": "string", "default": {"$ref": "a", "type": "b"}},
        },
        "$defs": {"x": {"type": "object", "additionalProperties": {"$ref": "#/$defs/x"}}},
    }


@pytest.mark.parametrize(
    ("extra", "left"),
    [
        ({"$schema": "https://json-schema.org/draft-07/schema"}, {}),
        ({"$schema": "http://json-schema.org/schema#"}, {}),
        ({"$id": "my tool"}, {}),
        ({"id": "my tool"}, {}),
        ({"$anchor": "a b"}, {}),
        ({"multipleOf": 0}, {}),
        ({"multipleOf": -2}, {}),
        ({"multipleOf": True}, {}),
        ({"format": 3}, {}),
        ({"minimum": 5, "maximum": 4}, {}),
        ({"minimum": 5, "exclusiveMaximum": 5}, {}),
        ({"exclusiveMinimum": 5, "maximum": 5}, {}),
        ({"minimum": 8, "maximum": 13, "multipleOf": 7}, {"multipleOf": 7}),
        ({"exclusiveMinimum": 7, "exclusiveMaximum": 14, "multipleOf": 7}, {"multipleOf": 7}),
        ({"pattern": "^(a{1000}){1000}$"}, {}),
    ],
    ids=str,
)
def test_what_it_could_not_compile_is_left_out_wherever_it_stands(extra: dict[str, Any], left: dict[str, Any]) -> None:
    inner = {"description": "d", **extra}
    kept = {"description": "d", **left}
    assert shown({"properties": {"$id": inner, "format": {"items": inner}}, **extra}) == {
        "properties": {"$id": kept, "format": {"items": kept}},
        **left,
    }


@pytest.mark.parametrize(
    "bounds",
    [{"minimum": 3.2, "maximum": 3.8}, {"exclusiveMinimum": 3, "exclusiveMaximum": 4}, {"minimum": 2, "maximum": 1}],
    ids=str,
)
def test_bounds_without_a_whole_number_between_them_are_left_out(bounds: dict[str, Any]) -> None:
    assert shown({"type": "integer", **bounds}) == {"type": "integer", "minimum": -(10**15), "maximum": 10**15}


@pytest.mark.parametrize(
    "bounds",
    [
        {"minimum": 5, "maximum": 5},
        {"minimum": 3.2, "maximum": 3.8},
        {"minimum": 8, "maximum": 14, "multipleOf": 7},
        {"exclusiveMinimum": 7, "maximum": 14, "multipleOf": 7},
        {"minimum": 5, "multipleOf": 0.5},
    ],
    ids=str,
)
def test_bounds_that_hold_numbers_stay(bounds: dict[str, Any]) -> None:
    assert shown({"description": "d", **bounds}) == {"description": "d", **bounds}


@pytest.mark.parametrize(
    ("schema", "bounds"),
    [
        ({"type": "integer"}, {"minimum": -(10**15), "maximum": 10**15}),
        ({"type": "number", "minimum": 3}, {"minimum": 3, "maximum": 10**15}),
        ({"type": "number", "exclusiveMaximum": 3}, {"exclusiveMaximum": 3, "minimum": -(10**15)}),
        ({"type": "integer", "multipleOf": 7}, {"multipleOf": 7, "minimum": -(10**15), "maximum": 10**15}),
        ({"type": "integer", "enum": [1]}, {"enum": [1]}),
    ],
)
def test_numbers_have_an_end(schema: dict[str, Any], bounds: dict[str, Any]) -> None:
    assert shown(schema) == {"type": schema["type"], **bounds}


@example(r"\<a\>")  # beginnings and ends of words, to llguidance
@given(st.text(alphabet="ab1^$.*+?{,}()[]|\\-&~dwbZ!:=<", max_size=12))
def test_every_pattern_that_is_kept_is_one_for_llguidance(pattern: str) -> None:
    matcher = pytest.importorskip("llguidance").LLMatcher
    with warnings.catch_warnings(action="ignore"):
        try:
            re.compile(pattern)
        except re.error:
            return  # it comes no further
    schema = {"type": "string", "pattern": pattern}
    grammar = with_schema_grammar(asked(schema))["grammar"].partition("\n")[2]
    assert not matcher.validate_grammar(matcher.grammar_from_lark(grammar))


@pytest.mark.parametrize(
    ("pattern", "is_known"),
    [
        (r"^\d{3}-\d{2}$", True),
        (r"[\w.-]+@[\w-]+\.\w{2,}", True),
        (r"^[a-z0-9]+(?:-[a-z0-9]+)*$", True),
        ("^[^/]+$", True),
        (r"^(?=a)b", False),
        (r"\bfoo\b", False),
        (r"(a)\1", False),
        ("a^b", False),
        ("(?i)a", False),
        ("[a&&b]", False),
        (r"a\Z", False),
    ],
)
def test_patterns_that_all_read_alike_are_known(pattern: str, *, is_known: bool) -> None:
    assert (PATTERN.fullmatch(pattern) is not None) is is_known


@pytest.mark.parametrize(
    ("structured", "expected"),
    [
        ({"json": {"type": "object"}}, {"json_schema": {"type": "object"}}),
        ({"json_object": True}, {"json_schema": {"type": "object"}}),
        ({"choice": ["yes", 'a "b"\n']}, {"grammar": 'root ::= "yes" | "a \\"b\\"\\n"'}),
        ({"regex": r"a/b\/c"}, {"grammar": "%llguidance {}\nstart: /a\\/b\\/c/"}),
        ({"grammar": "root ::= [a]"}, {"grammar": "root ::= [a]"}),
    ],
)
def test_vllms_words_are_llama_cpps(structured: dict[str, Any], expected: dict[str, Any]) -> None:
    assert constraint_of(structured) == expected


@pytest.mark.parametrize(
    ("pattern", "is_read_ahead"),
    [(r"[A-Z]{3}-\d", True), ("<a", False), (r"\[INST\]", False), (r"<\|im_end\|>", False)],
)
def test_what_may_name_a_special_token_is_not_read_ahead(pattern: str, *, is_read_ahead: bool) -> None:
    schema = {"type": "string", "enum": [pattern.replace("\\", "")]}
    for grammar in (constraint_of({"regex": pattern})["grammar"], with_schema_grammar(asked(schema))["grammar"]):
        first = "%llguidance {}" if is_read_ahead else '%llguidance {"no_forcing": true}'
        assert grammar.partition("\n")[0] == first


def test_a_build_without_it_is_not_asked() -> None:
    body = {"grammar": constraint_of({"regex": "a"})["grammar"]}
    with pytest.raises(UnsupportedParameter, match="llguidance"):
        LlamaCpp().finalize("chat", body, Ready(url=""))
    assert LlamaCpp().finalize("chat", body, READY) is body


@pytest.mark.parametrize(
    ("template", "expected"), [(None, False), ("{{ messages }}", False), ("{{ '<think>' }}", True)]
)
def test_a_template_tells_whether_a_model_thinks_first(template: str | None, *, expected: bool) -> None:
    assert may_think_first(ModelSpec(name="m", path=None, own_chat_template=template)) is expected


@pytest.mark.parametrize(
    "message",
    [
        b"llguidance (cmake -DLLAMA_LLGUIDANCE=ON) is not enabled",
        b"failed to parse grammar: llguidance is not enabled",
    ],
)
def test_a_build_is_known_by_what_it_says_without_it(message: bytes, tmp_path: Path) -> None:
    with_it, without = tmp_path / "with", tmp_path / "without"
    with_it.write_bytes(b"\0llg_new_matcher\0")
    without.write_bytes(b"\0" * (PART_BYTES - 20) + message + b"\0")
    assert has_llguidance(with_it)
    assert not has_llguidance(without)


LARK = 'start: "(" start? ")" | /start/ // start\nstart_two: "a \\"start\\""  # start\n'


def test_the_input_of_a_custom_tool_begins_behind_its_opening() -> None:
    body = {"tools": [], "input_grammar": {"opening": 'Call "é":\n', "definition": LARK}}
    adapted = LlamaCpp().adapt("chat", {"messages": [], "tool_choice": "required", **body})
    assert "tools" not in adapted
    finished = LlamaCpp().finalize("chat", adapted, READY)
    assert "input_grammar" not in finished
    assert finished["grammar"] == (
        '%llguidance {}\nstart: "Call \\"é\\":\\n" input_of_tool\n'
        'input_of_tool: "(" input_of_tool? ")" | /start/ // start\nstart_two: "a \\"start\\""  # start\n'
    )


def test_a_build_without_it_refuses_a_lark_grammar_with_the_way_out() -> None:
    body = {"input_grammar": {"opening": "x", "definition": LARK}}
    with pytest.raises(InvalidRequest, match="regex") as refused:
        LlamaCpp().finalize("chat", body, Ready(url=""))
    assert refused.value.param == "tools"

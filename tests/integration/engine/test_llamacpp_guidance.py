"""What llama.cpp's llguidance would not compile binds an answer all the same, or is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.serving import ServedHost

CHAT = "/v1/chat/completions"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
COUNT = {"type": "integer"}


def _ask(host: ServedHost, status: int = 200, path: str = CHAT, **body: Any) -> Any:
    asked = {"prompt": "Once"} if path != CHAT else {"messages": [{"role": "user", "content": "The weather in Paris?"}]}
    answer = host.http.post(path, json={"max_tokens": 60, "temperature": 0, **asked, **body})
    assert answer.status_code == status, answer.text
    if status != 200:
        return answer.json()["error"]
    return {**answer.json()["choices"][0], "details": answer.json().get("modelhost.finish_details")}


def _tool(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look", "parameters": parameters}}


def _of(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"n": value}, "required": ["n"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": "https://json-schema.org/draft-07/schema", **CITY},
        {"$schema": "http://json-schema.org/schema#", **CITY},
        {"$id": "my tool", **CITY},
        _of({"$id": "my tool", **CITY}),
        _of({**COUNT, "multipleOf": 0}),
        _of({"type": "string", "format": 3}),
        _of({**COUNT, "minimum": 5, "maximum": 4}),
        _of({"type": "string", "pattern": "^(a{1000}){1000}$"}),
    ],
    ids=lambda schema: json.dumps(schema)[:60],
)
def test_a_call_that_has_to_be_made_is_made_whatever_its_schema_says(
    nano_host: ServedHost, schema: dict[str, Any]
) -> None:
    choice = _ask(nano_host, tools=[_tool(schema)], tool_choice="required")
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]).keys() == set(schema["required"])


@pytest.mark.parametrize(
    "impossible",
    [{"type": "string", "enum": [1]}, {"type": "string", "pattern": "^a$", "minLength": 5}],
    ids=str,
)
def test_a_call_that_no_arguments_fit_is_not_made_and_the_answer_says_so(
    nano_host: ServedHost, impossible: dict[str, Any]
) -> None:
    choice = _ask(nano_host, tools=[_tool(_of(impossible))], tool_choice="required")
    assert "tool_calls" not in choice["message"]
    assert choice["details"]["type"] == "schema_violated"


@pytest.mark.parametrize("extra", [{"$schema": "https://json-schema.org/draft-07/schema"}, {"$id": "my tool"}], ids=str)
def test_json_follows_a_schema_whatever_that_calls_itself(nano_host: ServedHost, extra: dict[str, Any]) -> None:
    output = {"type": "json_schema", "json_schema": {"name": "x", "schema": {**extra, **CITY}}}
    choice = _ask(nano_host, response_format=output)
    assert json.loads(choice["message"]["content"]).keys() == {"city"}
    assert choice["details"] is None


def test_an_expression_that_repeats_too_much_is_refused(nano_host: ServedHost) -> None:
    error = _ask(nano_host, 400, guided_regex="(a{1000}){1000}")
    assert (error["code"], error["param"]) == ("unsupported_parameter", "guided_regex")
    assert re.fullmatch("(ab)+", _ask(nano_host, guided_regex="(ab){1000}")["message"]["content"])


@pytest.mark.parametrize(
    "asked",
    [
        {"guided_regex": "ab"},
        {"guided_json": {"type": "boolean"}},
        {"guided_choice": ["a"]},
        {"grammar": 'root ::= "a"'},
        {"tools": [_tool(CITY)], "tool_choice": "required"},
    ],
    ids=str,
)
def test_an_answer_that_is_held_to_something_cannot_go_on_behind_its_end(
    nano_host: ServedHost, asked: dict[str, Any]
) -> None:
    error = _ask(nano_host, 400, ignore_eos=True, **asked)
    assert (error["code"], error["param"]) == ("unsupported_parameter", "ignore_eos")


@pytest.mark.parametrize(
    "rules",
    [
        "start: (",
        'first: "a"',
        "start: nothing",
        'start: start "a"',
        r"start: /[^\s\S]/",
        "start: /(a{1000}){1000}/",
        "",
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_a_grammar_that_binds_nothing_is_refused(nano_host: ServedHost, path: str, rules: str) -> None:
    for field in ("grammar", "guided_grammar"):
        error = _ask(nano_host, 400, path, **{field: f"%llguidance {{}}\n{rules}"})
        assert (error["code"], error["param"]) == ("invalid_request", field)
        assert "llguidance" in error["message"]


@pytest.mark.parametrize(
    ("rules", "pattern"),
    [
        ('start: "yes" | "no"', "yes|no"),
        ('start: start_of more*\nstart_of: "start"\nmore: "/start"', "start(/start)*"),
        (r"start: /(.|\n){2,5}/", r"(?s).{2,5}"),
        ('start: ""', ""),
        ('start: "a"? <|im_end|>', "a?"),
        ('start: %json {"const": "start"}', '"start"'),
        ('start: "a" start | "b"', "a*b?"),
    ],
)
def test_a_grammar_that_llguidance_can_use_is_followed(nano_host: ServedHost, rules: str, pattern: str) -> None:
    for _ in range(2):  # what is known of it is remembered
        choice = _ask(nano_host, grammar=f"%llguidance {{}}\n{rules}", max_tokens=12)
        assert re.fullmatch(pattern, choice["message"].get("content") or "")


NAME = "<|im_end|>"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"guided_json": {"enum": [f"{NAME}x"]}}, f'"{NAME}x"'),
        ({"guided_json": {"const": {f"a{NAME}": 1}}}, f'{{"a{NAME}": 1}}'),
        ({"guided_regex": r"<\|im_end\|>"}, NAME),
        ({"guided_regex": r"a<\|im_start\|>b"}, "a<|im_start|>b"),
        ({"guided_choice": [f"{NAME}x"]}, f"{NAME}x"),
    ],
    ids=str,
)
def test_the_name_of_a_special_token_is_text_like_any_other(
    nano_host: ServedHost, asked: dict[str, Any], expected: str
) -> None:
    choice = _ask(nano_host, **asked)
    assert choice["message"]["content"] == expected
    assert choice["details"] is None


def test_the_input_of_a_tool_may_have_the_name_of_a_special_token(nano_host: ServedHost) -> None:
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": f'start: "a{NAME}b"'}}
    tools = [{"type": "custom", "custom": {"name": "code", "format": form}}]
    choice = _ask(nano_host, tools=tools, tool_choice={"type": "custom", "custom": {"name": "code"}})
    assert choice["message"]["tool_calls"][0]["custom"]["input"] == f"a{NAME}b"

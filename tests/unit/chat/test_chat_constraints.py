"""What an answer has to be, in vLLM's words."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.parsing.validation import check_fields
from modelhost.chat.structured_output import STRUCTURED, name_as_sent
from modelhost.engines.remote.engine import Remote
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.requests import ChatRequest, CompletionRequest, OutputFormat

SCHEMA = {"type": "object"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


def chat(**fields: Any) -> ChatRequest:
    found = parsed("chat", {**CHAT, **fields})
    assert isinstance(found, ChatRequest)
    return found


@pytest.mark.parametrize(
    "fields", [{"guided_json": SCHEMA}, {"guided_json": '{"type": "object"}'}, {STRUCTURED: {"json": SCHEMA}}]
)
def test_a_schema_is_one_of_the_answer(fields: dict[str, Any]) -> None:
    found = chat(**fields)
    assert found.output is not None
    assert (found.output.kind, found.output.schema) == ("json_schema", SCHEMA)
    assert not found.extra


def test_any_object_is_one_too() -> None:
    assert chat(structured_outputs={"json_object": True}).output == OutputFormat(kind="json_object")


@pytest.mark.parametrize(("kind", "value"), [("regex", "a+"), ("choice", ["a", "b"]), ("grammar", "root ::= [a]")])
@pytest.mark.parametrize("is_old", [True, False])
def test_the_rest_is_the_engines_business(kind: str, value: Any, *, is_old: bool) -> None:
    fields: dict[str, Any] = {f"guided_{kind}": value} if is_old else {STRUCTURED: {kind: value}}
    assert dict(chat(**fields).extra) == {STRUCTURED: {kind: value}}


def test_of_completions_all_is_the_engines_business() -> None:
    found = parsed("completions", {"prompt": "a", "guided_json": SCHEMA})
    assert isinstance(found, CompletionRequest)
    assert dict(found.extra) == {STRUCTURED: {"json": SCHEMA}}


def test_a_json_object_may_bring_its_schema_as_llamacpps_has_it() -> None:
    assert chat(response_format={"type": "json_object", "schema": SCHEMA}).output == chat(guided_json=SCHEMA).output


@pytest.mark.parametrize("constraint", [{"guided_json": SCHEMA}, {"json_schema": SCHEMA}], ids=str)
def test_an_answer_behind_its_prompt_is_no_json(constraint: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parsed("completions", {"prompt": "a", "echo": True, **constraint})
    assert raised.value.param == "echo"


def test_null_says_nothing() -> None:
    assert not chat(guided_json=None, structured_outputs=None).extra
    assert chat(structured_outputs={"regex": None, "json": SCHEMA}).output is not None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": [1]}, "guided_json"),
        ({"guided_regex": ""}, "guided_regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": [1]}, "guided_choice"),
        ({STRUCTURED: {"regex": 1}}, f"{STRUCTURED}.regex"),
        ({STRUCTURED: {"other": 1}}, f"{STRUCTURED}.other"),
        ({STRUCTURED: {}}, STRUCTURED),
        ({STRUCTURED: "a"}, STRUCTURED),
        ({STRUCTURED: {"regex": "a", "choice": ["a"]}}, f"{STRUCTURED}.choice"),
        ({STRUCTURED: {"regex": "a", "disable_any_whitespace": True}}, f"{STRUCTURED}.disable_any_whitespace"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        ({"guided_json": SCHEMA, "response_format": {"type": "json_object"}}, "guided_json"),
        ({"guided_regex": "a", "grammar": "b"}, "grammar"),
        ({"grammar": "b", "response_format": {"type": "json_object"}}, "grammar"),
        ({"json_schema": SCHEMA, "response_format": {"type": "json_object"}}, "json_schema"),
        ({"response_format": {"type": "text", "schema": SCHEMA}}, "response_format.schema"),
        ({"response_format": {"type": "json_object", "strict": True}}, "response_format.strict"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        chat(**fields)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("fields", "sent"),
    [({"guided_regex": "a"}, "guided_regex"), ({STRUCTURED: {"regex": "a"}}, f"{STRUCTURED}.regex")],
)
@pytest.mark.parametrize("param", [f"{STRUCTURED}.regex", "grammar", "response_format.json_schema.schema"])
def test_an_engines_refusal_names_the_field_that_the_client_sent(fields: dict[str, Any], sent: str, param: str) -> None:
    error = InvalidRequest(f"{param}: it cannot be.", param=param)
    name_as_sent(error, chat(**fields).constraint_field)
    assert (error.param, error.message) == (sent, f"{sent}: it cannot be.")


@pytest.mark.parametrize(("fields", "param"), [({"guided_regex": "a"}, "tools"), ({}, "grammar")])
def test_a_refusal_of_something_else_keeps_its_name(fields: dict[str, Any], param: str) -> None:
    error = InvalidRequest(f"{param}: it cannot be.", param=param)
    name_as_sent(error, chat(**fields).constraint_field)
    assert error.param == param


@pytest.mark.parametrize("fields", [{"guided_regex": "a"}, {STRUCTURED: {"regex": "a"}}], ids=str)
def test_an_engine_without_them_refuses_the_field_that_the_client_sent(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as raised:
        check_fields("chat", chat(**fields), Remote())
    assert raised.value.param == next(iter(fields))
    assert "Engines that have it: llamacpp, mlx, transformers, vllm, mistralrs." in raised.value.message

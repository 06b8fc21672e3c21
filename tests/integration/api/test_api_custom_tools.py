"""Custom tools: calls with a text, of a real model and of a script, whole and streamed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.api.talk import Talk, error_of
from tests.support.serving import ServedHost
from tests.support.session_talk import post, stored

QUESTION = "What is the weather in Paris?"
TEXT = 'print("é")\n\tdone 😀'
CALL = '/call code {"input": "print(\\"é\\")\\n\\tdone \\ud83d\\ude00"}'
PLATE = r"[A-Z]{3}-\d{2}"
LINES = 'start: line ("\\n" line)*\nline: "say \\"" WORD "\\""\nWORD: /[a-z]{2,6}/'
FUNCTION: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def custom(name: str = "code", **fields: Any) -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": name, "description": "Does what its input says.", **fields}}


def grammar(syntax: str, definition: str) -> dict[str, Any]:
    return {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}


def named(name: str = "code") -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": name}}


def streamed(talk: Talk, said: Any, **fields: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The call that the pieces of a stream make, and the pieces; its end has to be that of a call."""
    with talk.host.client().chat.completions.create(
        model=talk.model, messages=[{"role": "user", "content": said}], stream=True, **{"max_tokens": 120, **fields}
    ) as stream:
        chunks = [chunk.model_dump(exclude_unset=True) for chunk in stream]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    pieces = [piece for choice in choices for piece in choice["delta"].get("tool_calls") or ()]
    call = {**pieces[0], "custom": {**pieces[0]["custom"]}}
    for piece in pieces[1:]:
        assert piece.keys() == {"index", "custom"}, piece
        assert piece["custom"].keys() == {"input"}, piece
        call["custom"]["input"] += piece["custom"]["input"]
    assert call.pop("index") == 0
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["tool_calls"]
    return call, pieces


def whole(talk: Talk, said: Any, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The call of a whole answer, and the answer."""
    answer = talk.chat(said, **{"max_tokens": 120, **fields}).model_dump(exclude_unset=True)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls", choice
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    return call, answer


def test_a_call_comes_with_its_text(scripted: Talk) -> None:
    call, _ = whole(scripted, CALL, tools=[FUNCTION, custom()])
    assert call["id"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "code", "input": TEXT})
    assert call.keys() == {"id", "type", "custom"}
    again, pieces = streamed(scripted, CALL, tools=[FUNCTION, custom()])
    assert {**again, "id": call["id"]} == call
    assert len(pieces) > 2


def test_a_call_of_a_function_beside_a_custom_tool_stays_one(scripted: Talk) -> None:
    call, _ = whole(scripted, '/call get_weather {"city": "Paris"}', tools=[FUNCTION, custom()])
    assert (call["type"], call["function"]["arguments"]) == ("function", '{"city": "Paris"}')


@pytest.mark.parametrize("choice", [named(), "required"], ids=["named", "required"])
def test_a_real_model_makes_the_call_that_it_has_to(nano: Talk, choice: Any) -> None:
    asked = {"tools": [custom()], "tool_choice": choice, "temperature": 0}
    call, _ = whole(nano, QUESTION, **asked)
    assert call["custom"]["name"] == "code"
    assert call["custom"]["input"]
    again, _ = streamed(nano, QUESTION, **asked)
    assert again["custom"] == call["custom"]


def test_a_real_model_calls_a_custom_tool_by_itself_and_answers_with_what_it_gave(nano: Talk) -> None:
    tools = [custom("get_weather")]
    call, _ = whole(nano, QUESTION, tools=tools, temperature=0)
    assert call["custom"]["name"] == "get_weather"
    assert "Paris" in call["custom"]["input"]
    again, _ = streamed(nano, QUESTION, tools=tools, temperature=0)
    assert again["custom"] == call["custom"]
    said = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "It is sunny in Paris."},
    ]
    (choice,) = nano.chat(said, tools=tools, temperature=0, max_tokens=60).choices
    assert "sunny" in (choice.message.content or "")


def test_a_real_model_chooses_among_allowed_tools_of_both_kinds(nano: Talk) -> None:
    weather = {"type": "function", "function": {"name": "get_weather"}}
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [named(), weather]},
    }
    tools = [custom("other"), custom(), FUNCTION]
    call, _ = whole(nano, QUESTION, tools=tools, tool_choice=choice, temperature=0)
    assert call[call["type"]]["name"] in {"code", "get_weather"}


def test_a_real_model_writes_what_a_regular_expression_wants(nano: Talk) -> None:
    asked = {"tools": [custom(format=grammar("regex", PLATE))], "tool_choice": named(), "temperature": 0}
    call, answer = whole(nano, QUESTION, **asked)
    assert re.fullmatch(PLATE, call["custom"]["input"])
    assert "modelhost.finish_details" not in answer
    again, _ = streamed(nano, QUESTION, **asked)
    assert again["custom"] == call["custom"]


@pytest.mark.parametrize("pattern", [f"^{PLATE}$", "^(a|b)$", "^[A-Z]{2}", "[A-Z]{2}$", "^a|b$"])
def test_a_real_model_writes_what_a_regular_expression_with_anchors_wants(nano: Talk, pattern: str) -> None:
    asked = {"tools": [custom(format=grammar("regex", pattern))], "tool_choice": named(), "temperature": 0}
    call, answer = whole(nano, QUESTION, **asked)
    assert re.fullmatch(pattern, call["custom"]["input"])
    assert "modelhost.finish_details" not in answer


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_real_model_writes_what_a_lark_grammar_wants(nano: Talk, *, is_streamed: bool) -> None:
    asked = {"tools": [custom(format=grammar("lark", LINES)), FUNCTION], "tool_choice": named(), "seed": 1}
    call = streamed(nano, QUESTION, **asked)[0] if is_streamed else whole(nano, QUESTION, **asked)[0]
    assert call["custom"]["name"] == "code"
    assert re.fullmatch(r'say "[a-z]{2,6}"(\nsay "[a-z]{2,6}")*', call["custom"]["input"]), call


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("definition", ["start: nothing", 'start: start "a"', r"start: /[^\s\S]/"])
def test_a_lark_grammar_that_is_none_is_the_callers_fault(nano: Talk, definition: str, *, is_streamed: bool) -> None:
    tools = [custom(format=grammar("lark", definition))]
    response = nano.post_chat(QUESTION, tools=tools, tool_choice=named(), stream=is_streamed, max_tokens=120)
    assert "llguidance" in response.text
    assert '"invalid_request"' in response.text
    assert response.status_code == 400


def test_a_lark_grammar_that_nobody_can_enforce_is_refused(any_talk: Talk) -> None:
    error = error_of(any_talk.post_chat(QUESTION, tools=[custom(format=grammar("lark", LINES)), FUNCTION]))
    assert (error["code"], error["param"]) == ("invalid_request", "tools")
    assert "regex" in error["message"]


def test_an_input_that_does_not_fit_says_so(scripted: Talk) -> None:
    tools = [custom(format=grammar("regex", PLATE))]
    _, answer = whole(scripted, CALL, tools=tools)
    assert answer["modelhost.finish_details"]["type"] == "schema_violated"
    response = scripted.post_chat(CALL, tools=tools, stream=True)
    assert response.text.count('"schema_violated"') == 1


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_call_of_a_real_model_that_is_cut_short_has_nothing_but_its_input(nano: Talk, *, is_streamed: bool) -> None:
    asked = {"tools": [custom(format=grammar("regex", "[A-Z]{30}"))], "tool_choice": named(), "temperature": 0}
    for length in range(8, 24, 2):
        response = nano.post_chat(QUESTION, max_tokens=length, stream=is_streamed, **asked)
        assert '"length"' in response.text
        assert re.findall(r'"input":"[^"]*[^A-Z"]', response.text) == []


def test_names_that_clash_are_refused(any_talk: Talk) -> None:
    error = error_of(any_talk.post_chat(QUESTION, tools=[FUNCTION, custom("get_weather")]))
    assert (error["code"], error["param"]) == ("invalid_request", "tools[1].custom.name")


def test_every_choice_of_several_carries_its_own_call(scripted: Talk) -> None:
    answer = scripted.post_chat(CALL, tools=[custom()], n=2).json()
    calls = [choice["message"]["tool_calls"][0]["custom"] for choice in answer["choices"]]
    assert calls == [{"name": "code", "input": TEXT}] * 2


def test_a_session_keeps_calls_as_they_are(scripted: Talk) -> None:
    host, session = scripted.host, {"session_id": "custom-calls", "tools": [custom()]}
    (choice,) = post(host, CALL, **session).json()["choices"]
    (call,) = choice["message"]["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "done"}
    everything = [{"role": "user", "content": CALL}, choice["message"], result]
    assert post(host, everything, **session).status_code == 200
    kept = stored(host, "custom-calls")
    assert [message["role"] for message in kept] == ["user", "assistant", "tool", "assistant"]
    assert kept[1]["tool_calls"] == [{"id": call["id"], "type": "custom", "custom": {"name": "code", "input": TEXT}}]


def test_a_host_behind_another_one_gets_custom_tools_as_they_are(
    start_host: Callable[..., ServedHost], scripted_host: ServedHost
) -> None:
    options = {"dialect": "modelhost", "model": "scripted"}
    here = Talk(start_host(model=f"{scripted_host.url}/v1", alias=["scripted"], engine_options=options))
    lark = [custom(format=grammar("lark", LINES))]
    error = here.post_chat(CALL, tools=lark).json()["error"]
    assert "scripted cannot" in error["message"]  # it was the other one that refused it
    for stream in (False, True):
        response = here.post_chat(CALL, tools=[custom()], stream=stream, max_tokens=60)
        assert response.status_code == 200, response.text
        assert '"custom"' in response.text
        assert '"function"' not in response.text

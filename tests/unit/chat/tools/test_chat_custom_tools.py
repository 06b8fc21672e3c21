"""Custom tools: checked, and shown to engines that know functions only."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.tools.custom_tools import AdaptedChat, adapted_to, check
from modelhost.chat.tools.tool_choice import enforce_tool_choice
from modelhost.engines import ENGINES
from modelhost.engines.remote.engine import Remote
from modelhost.errors import InvalidRequest
from modelhost.exchange.bodies import body_of, tool_of
from modelhost.exchange.requests import ChatRequest
from modelhost.exchange.tasks import Task

HELLO = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
LARK = {"type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "a"'}}
REGEX = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a|b"}}
CALLED = [
    HELLO,
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "c1", "type": "custom", "custom": {"name": "code", "input": 'print("é")\n'}},
            {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "é"},
]


def custom(name: str = "code", **fields: Any) -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": name, **fields}}


def named(name: str, kind: str = "custom") -> dict[str, Any]:
    return {"type": kind, kind: {"name": name}}


def request(**body: Any) -> ChatRequest:
    found = parsed("chat", {"messages": [HELLO], **body})
    assert isinstance(found, ChatRequest)
    return found


def shown_to(engine: str, **body: Any) -> AdaptedChat:
    return adapted_to(enforce_tool_choice(request(**body)), ENGINES[engine])


def parameters_of(shown: AdaptedChat, place: int = 0) -> Any:
    return body_of(shown.request)["tools"][place]["function"]["parameters"]


@pytest.mark.parametrize("tool", [custom(), custom(description="Runs."), custom(format=LARK), custom(more=1)])
def test_a_request_is_written_as_it_was_read(tool: dict[str, Any]) -> None:
    body = {"messages": CALLED, "tools": [tool, FUNCTION], "tool_choice": named("code")}
    assert body_of(request(**body)) == body


@pytest.mark.parametrize("tool", [custom(description=None), custom(description=None, format=REGEX)])
def test_null_is_as_if_it_were_not_there(tool: dict[str, Any]) -> None:
    given = {name: value for name, value in tool["custom"].items() if value is not None}
    assert body_of(request(tools=[tool]))["tools"] == [{"type": "custom", "custom": given}]


@pytest.mark.parametrize("dialect", ["openai", "modelhost"])
def test_servers_that_know_custom_tools_get_them_unchanged(dialect: str) -> None:
    asked = enforce_tool_choice(request(messages=CALLED, tools=[custom(format=LARK), FUNCTION]))
    assert adapted_to(asked, Remote({"dialect": dialect})) == AdaptedChat(request=asked)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "remote"])
def test_every_other_engine_is_shown_a_function_with_one_text(engine: str) -> None:
    told = shown_to(engine, tools=[custom(description="Runs."), FUNCTION])
    first, second = body_of(told.request)["tools"]
    assert (first["type"], first["function"]["name"], first["function"]["description"]) == ("function", "code", "Runs.")
    schema = parameters_of(told)
    assert schema["properties"]["input"]["type"] == "string"
    assert (schema["required"], schema["additionalProperties"]) == (["input"], False)
    assert second == FUNCTION
    assert list(told.inputs) == ["code"]


@pytest.mark.parametrize("dialect", ["vllm", "llamacpp"])
def test_servers_of_other_kinds_are_shown_functions_too(dialect: str) -> None:
    told = adapted_to(enforce_tool_choice(request(tools=[custom()])), Remote({"dialect": dialect}))
    assert body_of(told.request)["tools"][0]["type"] == "function"


def test_calls_of_the_conversation_become_calls_of_the_function() -> None:
    messages = body_of(shown_to("scripted", messages=CALLED).request)["messages"]
    first, second = messages[1]["tool_calls"]
    assert (first["id"], first["type"], first["function"]["name"]) == ("c1", "function", "code")
    assert json.loads(first["function"]["arguments"]) == {"input": 'print("é")\n'}
    assert second == CALLED[1]["tool_calls"][1]  # type: ignore[index]
    assert messages[2] == CALLED[2]


def test_a_request_without_custom_tools_stays_the_same() -> None:
    asked = enforce_tool_choice(
        request(messages=[HELLO, {"role": "assistant", "tool_calls": []}, HELLO], tools=[FUNCTION])
    )
    assert adapted_to(asked, ENGINES["scripted"]).request is asked


def test_a_regular_expression_is_the_pattern_of_the_input() -> None:
    schema = parameters_of(shown_to("llamacpp", tools=[custom(format=REGEX)]))
    assert schema["properties"]["input"]["pattern"] == "^(a|b)$"


def test_a_regular_expression_that_no_grammar_can_hold_is_left_to_the_check() -> None:
    huge = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a{5000}"}}
    schema = parameters_of(shown_to("llamacpp", tools=[custom(format=huge)]))
    assert "pattern" not in schema["properties"]["input"]


@pytest.mark.parametrize("choice", [named("code"), "required"], ids=["named", "required"])
def test_a_lark_grammar_is_obeyed_where_its_tool_has_to_be_called(choice: Any) -> None:
    tools = [custom(format=LARK), FUNCTION] if choice != "required" else [custom(format=LARK)]
    told = shown_to("llamacpp", tools=tools, tool_choice=choice)
    assert told.grammar == 'start: "a"'
    assert 'start: "a"' in parameters_of(told)["properties"]["input"]["description"]


@pytest.mark.parametrize(
    ("engine", "choice", "says"),
    [
        ("llamacpp", "auto", "tool_choice"),
        ("llamacpp", "required", "tool_choice"),
        ("vllm", named("code"), "a model of llama.cpp"),
        ("scripted", "auto", "a model of llama.cpp"),
    ],
    ids=["auto", "one of several", "another engine", "another engine, auto"],
)
def test_a_lark_grammar_that_nobody_obeys_is_refused_with_the_way_out(engine: str, choice: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        shown_to(engine, tools=[custom(format=LARK), FUNCTION], tool_choice=choice)
    assert refused.value.param == "tools"
    assert "regex" in refused.value.message


def test_a_lark_grammar_of_a_tool_that_is_not_offered_does_not_matter() -> None:
    told = shown_to("vllm", tools=[custom(format=LARK), FUNCTION], tool_choice=named("f", "function"))
    assert body_of(told.request)["tools"] == [FUNCTION]


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([custom("f"), FUNCTION], "tools[1].function.name"),
        ([custom(), FUNCTION, custom("f")], "tools[2].custom.name"),
        ([custom(), custom()], "tools[1].custom.name"),
        ([FUNCTION, FUNCTION], "tools[1].function.name"),
    ],
)
@pytest.mark.parametrize("task", ["chat", "tokenize"])
def test_names_that_clash_are_refused(tools: list[Any], param: str, task: Task) -> None:
    with pytest.raises(InvalidRequest, match="another tool is called") as refused:
        parsed(task, {"messages": [HELLO], "tools": tools})
    assert refused.value.param == param


def allowed(*tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": list(tools)}}


@pytest.mark.parametrize(
    "choice",
    [
        named("f"),
        named("nothing"),
        named("code", "function"),
        allowed(named("code", "function")),
        {"type": "custom"},
        {"type": "other"},
        7,
    ],
    ids=repr,
)
def test_a_choice_of_another_kind_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        request(tools=[custom(), FUNCTION], tool_choice=choice)
    assert (refused.value.param or "").startswith("tool_choice")


def test_a_choice_may_name_tools_of_both_kinds() -> None:
    asked = request(
        tools=[custom(), FUNCTION, custom("no")], tool_choice=allowed(named("code"), named("f", "function"))
    )
    assert [tool.name for tool in enforce_tool_choice(asked).tools or ()] == ["code", "f"]
    check([tool_of(custom())], None)


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "custom"}, ".custom"),
        (custom(""), ".custom.name"),
        (custom(format={"type": "grammar"}), ".custom.format.grammar"),
        (custom(format={"type": "text", "grammar": REGEX["grammar"]}), ".custom.format.grammar"),
        (custom(format={"type": "other"}), ".custom.format"),
        (
            custom(format={"type": "grammar", "grammar": {"syntax": "regex", "definition": "("}}),
            ".custom.format.grammar.definition",
        ),
        (
            custom(format={"type": "grammar", "grammar": {"syntax": "gbnf", "definition": "x"}}),
            ".custom.format.grammar.syntax",
        ),
        ({"type": "other"}, ".type"),
        ({"function": {"name": "f"}}, ".type"),
    ],
    ids=repr,
)
def test_a_tool_that_is_none_is_refused_with_the_place(tool: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        request(tools=[tool])
    assert refused.value.param == f"tools[0]{param}"

"""What the scripted engine decides to answer, without a process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelhost.engines.launch import ModelSpec
from modelhost.engines.scripted.engine import REPLY_OPTIONS, Scripted, checked_calls
from modelhost.engines.scripted.reply import (
    Call,
    Reply,
    commands_of,
    decide,
    limited,
    read_generation,
    rules_of,
    split_words,
)
from modelhost.engines.worker.asgi import ErrorResponse
from modelhost.errors import ConfigError, ContextLengthExceeded


def reply_to(message: str, *, may_call: bool = False, tool_turns: int = 0, script: Any = (), **options: Any) -> Reply:
    rules = rules_of(list(script))
    return decide({**REPLY_OPTIONS, **options}, rules, message, may_call=may_call, tool_turns=tool_turns)


def test_unknown_option_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="tokens_per_second"):
        Scripted().launch(ModelSpec(name="m", options={"token_per_second": 3}), "key")


def test_setting_that_needs_a_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="chat_template"):
        Scripted().launch(ModelSpec(name="m", chat_template="x"), "key")


def test_key_stands_in_the_configuration_and_not_in_the_command_line() -> None:
    launch = Scripted().launch(ModelSpec(name="m", options={"tokens": "7"}), "secret")
    assert launch.config["api_key"] == "secret"
    assert launch.config["tokens"] == 7
    assert not any("secret" in part for part in launch.argv)
    assert json.loads(json.dumps(dict(launch.config))) == launch.config


def test_tool_calls_may_be_json_text_from_the_command_line() -> None:
    assert checked_calls('[{"name": "f", "arguments": {"a": 1}}]') == [{"name": "f", "arguments": '{"a": 1}'}]


@pytest.mark.parametrize("value", ["no json", [{"nome": "f"}], [3], 3])
def test_malformed_tool_calls_are_a_configuration_error(value: Any) -> None:
    with pytest.raises(ConfigError, match="tool_calls"):
        checked_calls(value)


def test_text_is_cycled_up_to_the_number_of_tokens() -> None:
    assert "".join(reply_to("hi", text="one two", tokens=5).content) == "one two one two one"


def test_words_of_a_text_join_to_the_text_again() -> None:
    text = "  several\n words, and\tspace at the end \n"
    assert "".join(split_words(text)) == text


def test_commands_may_follow_each_other() -> None:
    assert commands_of("/slow 10 /tokens 200 and then text") == {"tokens_per_second": 10.0, "tokens": 200}


def test_echo_answers_with_the_rest_of_the_message() -> None:
    assert "".join(reply_to("/slow 5 /echo some /tokens 3 words", tokens=9).content) == "some /tokens 3 words"


@pytest.mark.parametrize("message", ["/crash", "/crash many", "/etc/passwd 3", "say /crash 5"])
def test_what_only_looks_like_a_command_is_text(message: str) -> None:
    assert commands_of(message) == {}


def test_tools_are_called_only_where_the_request_allows_it() -> None:
    calls = checked_calls([{"name": "f", "arguments": "{broken"}])
    assert reply_to("x", may_call=True, tool_calls=calls).calls == (Call(name="f", arguments="{broken"),)
    assert reply_to("x", may_call=True, tool_calls=calls).finish_reason == "tool_calls"
    assert reply_to("x", may_call=False, tool_calls=calls, text="done").content == ("done",)
    assert reply_to('/call g {"a": 1}', may_call=True).calls == (Call(name="g", arguments='{"a": 1}'),)


def test_calls_are_made_in_as_many_turns_as_the_script_says() -> None:
    message = '/turns 2 /call g {"n": {turn}}'
    assert reply_to(message, may_call=True).calls == (Call(name="g", arguments='{"n": 1}'),)
    assert reply_to(message, may_call=True, tool_turns=1).calls == (Call(name="g", arguments='{"n": 2}'),)
    assert reply_to(message, may_call=True, tool_turns=2, text="done").content == ("done",)
    assert reply_to("/call g", may_call=True, tool_turns=1).calls == ()


@pytest.mark.parametrize(
    ("roles", "tool_turns"),
    [
        (["user"], 0),
        (["user", "assistant", "tool"], 1),
        (["user", "assistant", "tool", "tool"], 1),
        (["user", "assistant", "tool", "tool", "assistant", "tool"], 2),
        (["user", "assistant", "tool", "assistant", "user"], 0),
        (["tool"], 1),
    ],
)
def test_turns_of_tools_are_counted_since_the_users_last_message(roles: list[str], tool_turns: int) -> None:
    messages = [{"role": role, "content": "go"} for role in roles]
    asked = read_generation("chat", {"messages": messages}, model="m", context_length=100)
    assert asked.tool_turns == tool_turns


def test_first_rule_that_matches_answers_and_commands_come_last() -> None:
    script = [
        {"match": "re:^weather in \\w+$", "reply": "rain", "tokens_per_second": 5},
        {"match": "weather", "reply": "sun"},
        {"match": "slow", "tokens_per_second": 1},
    ]
    assert reply_to("weather in Oslo", script=script).content == ("rain",)
    assert reply_to("the weather", script=script).content == ("sun",)
    assert reply_to("/slow 30 please", script=script).tokens_per_second == 30
    assert reply_to("else", script=script, text="own").content == ("own",)


@pytest.mark.parametrize("entries", [{"match": "x"}, [{"reply": "x"}], [{"match": "x", "repli": "y"}]])
def test_malformed_script_is_a_configuration_error(entries: Any) -> None:
    with pytest.raises(ConfigError):
        rules_of(entries)


def test_stop_cuts_before_its_first_occurrence() -> None:
    cut = limited(Reply(content=split_words("one two three two")), most_tokens=None, stops=["two", "four"])
    assert ("".join(cut.content), cut.finish_reason) == ("one ", "stop")


def test_limit_counts_reasoning_and_says_length() -> None:
    cut = limited(Reply(reasoning=("a", "b"), content=("c", "d")), most_tokens=3, stops=())
    assert (cut.reasoning, cut.content, cut.finish_reason) == (("a", "b"), ("c",), "length")


def test_prompt_that_is_too_long_is_refused_as_llama_cpp_does_it() -> None:
    body = {"messages": [{"role": "user", "content": "one two three"}]}
    with pytest.raises(ErrorResponse) as caught:
        read_generation("chat", body, model="m", context_length=3)
    assert caught.value.body["error"]["type"] == "exceed_context_size_error"
    error = Scripted().translate_error(caught.value.status, caught.value.body, model="m", worker="w")
    assert isinstance(error, ContextLengthExceeded)


def test_request_that_ends_in_a_tools_result_is_in_its_second_turn() -> None:
    messages = [{"role": "user", "content": "go"}, {"role": "tool", "content": "42", "tool_call_id": "1"}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    asked = read_generation("chat", {"messages": messages, "tools": tools}, model="m", context_length=99)
    assert (asked.message, asked.may_call, asked.tool_turns) == ("go", True, 1)

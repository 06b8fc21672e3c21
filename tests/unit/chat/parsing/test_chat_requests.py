"""What a request may hold."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.chat.parsing.bodies import INERT, MODELS
from modelhost.chat.parsing.fields import MAX_BATCH
from modelhost.chat.parsing.parse import parsed
from modelhost.chat.parsing.validation import REPLACEMENTS, check_fields, validate
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.bodies import body_of
from modelhost.exchange.tasks import TASKS, Task

MESSAGES = [{"role": "user", "content": "hello"}]


def refused(task: Task, body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        validate(task, body)
    return raised.value


def test_every_task_has_its_model_and_its_request() -> None:
    assert set(TASKS) == set(get_args(Task))
    # Those of images are parsed at their door, which takes forms as well.
    of_images = {"images", "image_edits"}
    assert set(MODELS) == {task for task, traits in TASKS.items() if traits.body == "json"} - of_images


@pytest.mark.parametrize("task", list(MODELS))
@pytest.mark.parametrize("body", [None, [], "text", 5, True])
def test_a_body_has_to_be_an_object(task: Task, body: Any) -> None:
    assert refused(task, body).param is None


@pytest.mark.parametrize("value", [0, 1, 0.5, None])
def test_whole_numbers_are_numbers(value: float | None) -> None:
    validate("chat", {"messages": MESSAGES, "temperature": value, "min_p": value})


def test_of_a_union_the_branch_that_got_furthest_is_reported() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text"}]
    error = refused("chat", {"messages": [{"role": "user", "content": content}]})
    assert error.param is not None
    assert error.param.startswith("messages[0].content[1]")


@pytest.mark.parametrize(
    ("task", "param", "fields"),
    [
        ("completions", "prompt", {"n": 1}),
        ("completions", "prompt", {}),
        ("embeddings", "input", {}),
        ("rerank", "documents", {"query": "q"}),
    ],
    ids=str,
)
def test_a_list_is_as_long_as_openais_at_most(task: Task, param: str, fields: dict[str, Any]) -> None:
    validate(task, {param: ["a"] * MAX_BATCH, **fields})
    error = refused(task, {param: ["a"] * (MAX_BATCH + 1), **fields})
    assert error.param == param
    assert error.message == (
        f"{param}: 2049 entries; a request may ask for 2048 at most. Split it into several requests."
    )


@pytest.mark.parametrize("entry", ["a", [1, 2]], ids=str)
def test_prompts_and_their_choices_count_together(entry: Any) -> None:
    validate("completions", {"prompt": [entry] * 64, "n": 32})
    error = refused("completions", {"prompt": [entry] * 64, "n": 64})
    assert error.param == "prompt"
    assert "64 entries, each with an n of 64, make 4096" in error.message


def test_one_prompt_of_tokens_is_as_long_as_it_is() -> None:
    validate("completions", {"prompt": [1] * 5000, "n": 2})
    validate("embeddings", {"input": [1] * 5000})


def test_all_that_a_union_would_take_is_told() -> None:
    error = refused("completions", {"prompt": 5})
    assert error.param == "prompt"
    assert "string" in error.message
    assert "list" in error.message


def test_fields_that_need_each_other_are_checked_together() -> None:
    assert refused("chat", {"messages": MESSAGES, "top_logprobs": 1}).param == "top_logprobs"
    shape = {"type": "json_schema"}
    error = refused("chat", {"messages": MESSAGES, "response_format": shape})
    assert error.param == "response_format.json_schema"


def test_an_unknown_field_names_the_closest_known_one() -> None:
    with pytest.raises(UnsupportedParameter, match='"temperature"') as raised:
        check_fields("chat", parsed("chat", {"messages": MESSAGES, "temprature": 1}), LlamaCpp())
    assert raised.value.param == "temprature"


@pytest.mark.parametrize("name", sorted(REPLACEMENTS))
def test_what_is_common_elsewhere_is_refused_with_its_replacement(name: str) -> None:
    with pytest.raises(UnsupportedParameter, match=f'"{REPLACEMENTS[name]}"'):
        check_fields("chat", parsed("chat", {"messages": MESSAGES, name: 1}), LlamaCpp())


def test_replacements_are_known_and_inert_fields_are_declared() -> None:
    declared = {name for model in MODELS.values() for name in model.model_fields}
    known = declared | LlamaCpp().fields("chat")
    assert set(REPLACEMENTS.values()) <= known
    # What stands in a model has its own name there, as ``n_predict`` in that of ``/infill``.
    assert known & REPLACEMENTS.keys() == {"n_predict"} == {"n_predict"} & MODELS["infill"].model_fields.keys()
    assert declared >= INERT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


WHOLE: list[tuple[Task, dict[str, Any]]] = [
    (
        "chat",
        {
            "messages": [
                {"role": "system", "content": "Be brief.", "name": "s"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "See:", "cache_control": {}},
                        {"type": "image_url", "image_url": {"url": "data:,"}},
                        {"type": "refusal", "refusal": "No."},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "Hm.",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}, "more": 2}}
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "ok"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}, "more": 1}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "parallel_tool_calls": False,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {}}},
            "max_completion_tokens": 5,
            "max_tokens": 6,
            "temperature": 0.5,
            "stop": ["a", "b"],
            "logit_bias": {"1": 2.0},
            "n": 2,
            "logprobs": True,
            "top_logprobs": 0,
            "samplers": ["top_k"],
        },
    ),
    ("completions", {"prompt": [[1, 2], [3]], "logprobs": 0, "seed": 1, "stop": "x"}),
    ("completions", {"prompt": [1, 2]}),
    ("embeddings", {"input": ["a"], "encoding_format": "base64"}),
    ("embeddings", {"input": "a"}),
    ("rerank", {"query": "q", "documents": ["a"], "top_n": 1}),
    ("tokenize", {"content": "a", "add_special": False}),
    ("detokenize", {"tokens": [1]}),
    ("speech", {"input": "a", "voice": "b", "response_format": "wav", "speed": 1.5, "seed": 3}),
]


@pytest.mark.parametrize(("task", "body"), WHOLE, ids=[f"{task} {at}" for at, (task, _) in enumerate(WHOLE)])
def test_a_request_that_is_read_and_written_again_is_the_same(task: Task, body: dict[str, Any]) -> None:
    assert body_of(parsed(task, body)) == body


def test_null_is_as_if_a_field_were_not_there() -> None:
    given = {name: None for name in MODELS["chat"].model_fields if name != "messages"}
    assert body_of(parsed("chat", {"messages": MESSAGES, **given, "unknown": None})) == {"messages": MESSAGES}


@given(task=st.sampled_from(list(MODELS)), data=st.data())
def test_checking_a_body_ends_in_yes_or_in_a_named_no(task: Task, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(MODELS[task].model_fields))
    body = data.draw(st.dictionaries(names, JSON, max_size=4))
    try:
        validate(task, body)
    except InvalidRequest as error:
        assert error.message  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"logit_bias": {"hello": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "best_of": 2, "n": 3}, "best_of"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}}}, "tool_choice"),
    ],
    ids=str,
)
def test_values_without_a_meaning_are_refused(body: dict[str, Any], param: str) -> None:
    error = refused("completions", body) if "prompt" in body else refused("chat", {"messages": MESSAGES, **body})
    assert str(error.param).startswith(param)


def test_as_many_as_are_drawn_may_be_wanted_of() -> None:
    validate("completions", {"prompt": "a", "best_of": 2, "n": 2})
    validate("completions", {"prompt": "a", "best_of": 1})


def test_what_asks_for_no_other_answer_is_kept_for_those_who_know_it() -> None:
    found = parsed("chat", {"messages": MESSAGES, "verbosity": "low", "prediction": {"type": "content"}, "user": None})
    assert dict(found.inert) == {"verbosity": "low", "prediction": {"type": "content"}}
    assert body_of(found) == {"messages": MESSAGES}


@pytest.mark.parametrize("tools", ["x", 5, {"zz": [None]}, [None]], ids=str)
def test_tools_mean_nothing_to_what_has_none(tools: Any) -> None:
    assert parsed("completions", {"prompt": "a", "tools": tools}).extra == {"tools": tools}
    assert parsed("detokenize", {"tokens": [1], "tools": tools}).extra == {"tools": tools}


def test_null_in_a_message_or_in_wishes_is_as_if_it_were_not_there() -> None:
    names = ("name", "reasoning_content", "tool_call_id", "refusal", "tool_calls", "anything")
    plain = {"role": "user", "content": "a"}
    wishes = {"resources": None, "prompts": [{"server": "s", "name": "n", "arguments": None}]}
    found = parsed("chat", {"messages": [{**plain, **dict.fromkeys(names)}], "mcp": wishes})
    assert found == parsed("chat", {"messages": [plain], "mcp": {"prompts": [{"server": "s", "name": "n"}]}})
    silent = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}
    assert body_of(parsed("chat", {"messages": [silent]}))["messages"][0]["content"] is None

"""What a request may hold."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.chat.requests import INERT, INSTEAD, MODELS, validate, validate_fields
from modelhost.engines.base import Task
from modelhost.engines.llamacpp import LlamaCpp
from modelhost.errors import InvalidRequest, UnsupportedParameter

MESSAGES = [{"role": "user", "content": "hello"}]


def refused(task: Task, body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        validate(task, body)
    return raised.value


def test_every_operation_has_its_model() -> None:
    assert set(MODELS) == set(get_args(Task))


@pytest.mark.parametrize("task", get_args(Task))
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
        validate_fields("chat", {"temprature": 1}, LlamaCpp())
    assert raised.value.param == "temprature"


@pytest.mark.parametrize("name", sorted(INSTEAD))
def test_what_is_common_elsewhere_is_refused_with_its_replacement(name: str) -> None:
    with pytest.raises(UnsupportedParameter, match=f'"{INSTEAD[name]}"'):
        validate_fields("chat", {name: 1}, LlamaCpp())


def test_replacements_are_known_and_inert_fields_are_declared() -> None:
    declared = {name for model in MODELS.values() for name in model.model_fields}
    known = declared | LlamaCpp().fields("chat")
    assert set(INSTEAD.values()) <= known
    assert not known & INSTEAD.keys()
    assert declared >= INERT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(task=st.sampled_from(get_args(Task)), data=st.data())
def test_checking_a_body_ends_in_yes_or_in_a_named_no(task: Task, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(MODELS[task].model_fields))
    body = data.draw(st.dictionaries(names, JSON, max_size=4))
    try:
        validate(task, body)
    except InvalidRequest as error:
        assert error.message  # noqa: PT017 (either outcome is right)

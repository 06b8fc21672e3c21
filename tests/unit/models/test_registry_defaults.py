"""Request defaults: the same ranges as in a request, and a clear word about what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.chat.requests import validate
from modelhost.engines.llamacpp import LlamaCpp
from modelhost.errors import InvalidRequest
from modelhost.models.request_defaults import NAMES, parse_defaults

MESSAGES = [{"role": "user", "content": "x"}]


def test_what_is_given_is_returned_and_null_takes_a_default_away() -> None:
    assert parse_defaults({"temperature": 1, "stop": "END", "seed": None}) == {
        "temperature": 1.0,
        "stop": ["END"],
        "seed": None,
    }
    assert parse_defaults({}) == {}


@pytest.mark.parametrize(
    ("values", "param", "message"),
    [
        ({"temperature": -1}, "temperature", '"temperature": must be at least 0, got -1.'),
        ({"top_k": 1.5}, "top_k", '"top_k": expected an integer, got 1.5.'),
        ({"temperatur": 1}, "temperatur", 'unknown key "temperatur"; did you mean "temperature"?.'),
        ({"stop": ["a", ""]}, "stop", '"stop[1]": must not be empty.'),
        ({"max_tokens": 0, "seed": "x"}, None, '"max_tokens": must be at least 1, got 0; "seed": expected an integer'),
    ],
)
def test_a_wrong_default_names_its_field(values: dict[str, Any], param: str | None, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_defaults(values)
    assert caught.value.param == param
    assert caught.value.message.startswith(message)


@given(
    name=st.sampled_from(sorted(set(NAMES) - {"repetition_penalty", "min_tokens_to_keep"})),
    value=st.integers(-5, 5)
    | st.integers()
    | st.floats(-200, 200)
    | st.text(max_size=2)
    | st.lists(st.text(max_size=2)),
)
def test_a_default_is_valid_exactly_if_it_is_valid_in_a_request(name: str, value: Any) -> None:
    """``repetition_penalty`` and ``min_tokens_to_keep`` are not OpenAI's; in a request the engine checks them."""

    def is_refused(check: Any) -> bool:
        try:
            check()
        except InvalidRequest:
            return True
        return False

    in_request = is_refused(lambda: validate("chat", {"messages": MESSAGES, name: value}))
    assert is_refused(lambda: parse_defaults({name: value})) == in_request


def test_every_default_is_a_field_that_the_engine_or_openai_knows() -> None:
    openai = {"max_tokens", "stop"}
    assert set(NAMES) - openai <= LlamaCpp().fields("chat")

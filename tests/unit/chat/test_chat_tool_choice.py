"""``tool_choice`` as it is shown to the engine."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.chat.tool_choice import enforce, is_forced
from modelhost.errors import InvalidRequest

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}])
def test_auto_leaves_the_tools_as_they_are(choice: dict[str, Any]) -> None:
    body = {"tools": TOOLS, **choice}
    assert enforce(body) == body
    assert not is_forced(enforce(body))


@pytest.mark.parametrize("body", [{"tools": TOOLS, "tool_choice": "none"}, {"tools": [], "tool_choice": "auto"}, {}])
def test_none_and_no_tools_leave_nothing_to_call(body: dict[str, Any]) -> None:
    assert enforce({**body, "parallel_tool_calls": True, "n": 1}) == {"n": 1}


def test_a_named_tool_is_the_only_one_and_required() -> None:
    enforced = enforce({"tools": TOOLS, "tool_choice": named("b")})
    assert enforced == {"tools": TOOLS[1:], "tool_choice": "required"}
    assert is_forced(enforced)


def test_required_stays_required() -> None:
    assert is_forced(enforce({"tools": TOOLS, "tool_choice": "required"}))


@pytest.mark.parametrize(
    "body", [{"tool_choice": "required"}, {"tool_choice": named("a")}, {"tools": TOOLS, "tool_choice": named("c")}]
)
def test_a_choice_that_cannot_be_met_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        enforce(body)
    assert refused.value.param == "tool_choice"


def test_the_callers_body_is_left_alone() -> None:
    body = {"tools": TOOLS, "tool_choice": named("b")}
    enforce(body)
    assert body == {"tools": TOOLS, "tool_choice": named("b")}

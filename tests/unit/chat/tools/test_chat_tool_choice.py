"""``tool_choice`` as it is shown to the engine."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.tools.tool_choice import enforce_tool_choice, requires_call
from modelhost.errors import InvalidRequest
from modelhost.exchange.bodies import body_of
from modelhost.exchange.requests import ChatRequest

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]


def request(body: dict[str, Any]) -> ChatRequest:
    found = parsed("chat", {"messages": [{"role": "user", "content": "Hi"}], **body})
    assert isinstance(found, ChatRequest)
    return found


def enforce(body: dict[str, Any]) -> dict[str, Any]:
    found = body_of(enforce_tool_choice(request(body)))
    del found["messages"]
    return found


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}])
def test_auto_leaves_the_tools_as_they_are(choice: dict[str, Any]) -> None:
    body = {"tools": TOOLS, **choice}
    assert enforce(body) == body
    assert not requires_call(enforce_tool_choice(request(body)))


@pytest.mark.parametrize("body", [{"tools": TOOLS, "tool_choice": "none"}, {"tools": [], "tool_choice": "auto"}, {}])
def test_none_and_no_tools_leave_nothing_to_call(body: dict[str, Any]) -> None:
    assert enforce({**body, "parallel_tool_calls": True, "n": 2}) == {"n": 2}


def test_a_named_tool_is_the_only_one_and_required() -> None:
    body = {"tools": TOOLS, "tool_choice": named("b")}
    assert enforce(body) == {"tools": TOOLS[1:], "tool_choice": "required"}
    assert requires_call(enforce_tool_choice(request(body)))


def test_required_stays_required() -> None:
    assert requires_call(enforce_tool_choice(request({"tools": TOOLS, "tool_choice": "required"})))


@pytest.mark.parametrize(
    "body",
    [
        {"tool_choice": "required"},
        {"tool_choice": named("a")},
        {"tools": TOOLS, "tool_choice": named("c")},
    ],
)
def test_a_choice_that_cannot_be_met_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        enforce(body)
    assert refused.value.param == "tool_choice"


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_are_the_only_ones(mode: str) -> None:
    body = {"tools": TOOLS, "tool_choice": allowed(mode, "b")}
    assert enforce(body) == {"tools": TOOLS[1:], "tool_choice": mode}
    assert requires_call(enforce_tool_choice(request(body))) is (mode == "required")


def test_allowed_tools_that_are_not_there_are_refused() -> None:
    with pytest.raises(InvalidRequest, match='"c"'):
        enforce({"tools": TOOLS, "tool_choice": allowed("auto", "a", "c")})

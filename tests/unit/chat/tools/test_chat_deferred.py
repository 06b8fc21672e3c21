"""Approvals by another request: what ends an answer, how the next one goes on, and what models see of it."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest
from msgspec.structs import replace

from modelhost.chat.tools.approvals import Approved
from modelhost.chat.tools.host_tools import GrantedTools, first_events
from modelhost.chat.tools.loop import ToolLoop
from modelhost.exchange.events import (
    ApprovalNeeded,
    CallFinished,
    CallStarted,
    Event,
    Finish,
    Text,
    ToolCallPiece,
    ToolsListed,
    ToolsMissing,
)
from modelhost.exchange.messages import messages_of
from modelhost.exchange.requests import ApprovalRule, HostCalls, PendingCall, ToolFilter
from modelhost.tools.callbacks import ApprovalRequest, CallContext
from modelhost.tools.status import MissingServer, ServerState
from tests.support.loop_world import Model, Tools, called, fails, loop_of, offered, request, said, takes, turn

pytestmark = pytest.mark.usefixtures("virtual_time")

DEFERRED = HostCalls(defers_approvals=True)


async def events_of(loop: ToolLoop, **fields: Any) -> list[Event]:
    async with aclosing(loop.run(request(**fields))) as pieces:
        return [event async for piece in pieces for event in piece]


def needed(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(event.id, event.tool, event.written) for event in events if isinstance(event, ApprovalNeeded)]


def started(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.name, event.turn) for event in events if isinstance(event, CallStarted)]


def end_of(events: list[Event]) -> Finish:
    (found,) = [event for event in events if isinstance(event, Finish)]
    return found


# The answer that ends.


async def test_a_call_that_needs_approval_ends_the_answer_and_is_not_made() -> None:
    tools = Tools({"pay": "ask"}, pay=takes(0))
    events = await events_of(loop_of(Model(turn(said("Well."), called("pay", '{"a": 1}'))), tools, policy=DEFERRED))
    assert needed(events) == [("call-pay-0", "own-pay", '{"a": 1}')]
    assert end_of(events).reason == "tool_calls"
    assert tools.calls == []
    assert started(events) == []


async def test_the_other_calls_of_the_turn_are_over_before_the_answer_ends() -> None:
    tools = Tools({"pay": "ask"}, pay=takes(0), look=takes(5, "seen"))
    model = Model(turn(called("pay"), called("look", index=1)))
    events = await events_of(loop_of(model, tools, policy=DEFERRED))
    kinds = [type(event) for event in events if isinstance(event, CallStarted | CallFinished | ApprovalNeeded)]
    assert kinds == [CallStarted, CallFinished, ApprovalNeeded]


async def test_calls_of_the_client_and_approvals_come_in_one_answer() -> None:
    tools = Tools({"pay": "ask"}, pay=takes(0))
    model = Model(turn(called("pay"), called("mine", index=1)))
    events = await events_of(loop_of(model, tools, policy=DEFERRED, client_tools=["mine"]))
    assert [event.name for event in events if isinstance(event, ToolCallPiece) and event.name] == ["mine"]
    assert [each[0] for each in needed(events)] == ["call-pay-0"]


async def test_a_rule_of_the_request_wants_approval_of_what_the_host_would_run() -> None:
    tools = Tools(pay=takes(0), read_it=takes(0))
    rule = ApprovalRule(never=ToolFilter(read_only=True))
    policy = HostCalls(defers_approvals=True, rules={"s": rule})
    model = Model(turn(called("read_it")), turn(called("pay")))
    events = await events_of(loop_of(model, tools, policy=policy))
    assert started(events) == [("read_it", 1)]
    assert [each[1] for each in needed(events)] == ["own-pay"]


async def test_a_rule_of_the_request_does_not_lift_the_rule_of_the_host() -> None:
    tools = Tools({"pay": "ask"}, pay=takes(0))
    policy = HostCalls(defers_approvals=True, rules={"s": ApprovalRule(otherwise=False)})
    assert needed(await events_of(loop_of(Model(turn(called("pay"))), tools, policy=policy)))


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        (ApprovalRule(), {"a", "b", "c"}),
        (ApprovalRule(otherwise=False), set()),
        (ApprovalRule(always=ToolFilter(names=frozenset({"a"})), otherwise=False), {"a"}),
        (ApprovalRule(never=ToolFilter(names=frozenset({"a"}))), {"b", "c"}),
        (ApprovalRule(never=ToolFilter(read_only=True)), {"a", "b"}),
        (ApprovalRule(never=ToolFilter(names=frozenset({"a", "c"}), read_only=True)), {"a", "b"}),
        (ApprovalRule(always=ToolFilter(read_only=False), never=ToolFilter(names=frozenset({"a", "c"}))), {"a", "b"}),
    ],
)
def test_rules_say_which_tools_need_approval(rule: ApprovalRule, asked: set[str]) -> None:
    assert {name for name in "abc" if rule.applies(name, is_read_only=name == "c")} == asked


async def test_without_deferral_calls_say_which_tool_and_which_turn_they_belong_to() -> None:
    model = Model(turn(called("now", '{"a":  1}')), turn(said("5")))
    (event,) = [
        event for event in await events_of(loop_of(model, Tools(now=takes(0)))) if isinstance(event, CallStarted)
    ]
    assert (event.server, event.tool, event.written, event.turn) == ("s", "own-now", '{"a":  1}', 1)


async def test_a_sampling_request_of_a_server_is_still_asked_meanwhile() -> None:
    asked: list[str] = []

    async def others(request: ApprovalRequest) -> bool:
        asked.append(request.kind)
        return False

    request_of: dict[str, Any] = {"server": "s", "name": "s", "tool": None, "arguments": {}, "annotations": {}}
    assert await Approved(others)(ApprovalRequest(kind="tool", **request_of)) is True
    assert await Approved(others)(ApprovalRequest(kind="sampling", **request_of)) is False
    assert await Approved(None)(ApprovalRequest(kind="sampling", **request_of)) is None
    assert asked == ["sampling"]


# The answer that continues.


def deciding(*, is_approved: bool, reason: str | None = None) -> HostCalls:
    pending = PendingCall(id="call-pay-0", name="pay", arguments='{"a": 1}', is_approved=is_approved, reason=reason)
    return HostCalls(defers_approvals=True, pending=(pending,))


async def test_an_approved_call_is_made_before_the_model_goes_on() -> None:
    async def pay(arguments: Any, context: CallContext) -> str:
        assert context.approve is not None
        asked = ApprovalRequest(kind="tool", server="s", name="pay", tool="pay", arguments={}, annotations={})
        assert await context.approve(asked) is True
        return f"paid {arguments}"

    model = Model(turn(said("Done.")))
    tools = Tools({"pay": "ask"}, pay=pay)
    events = await events_of(loop_of(model, tools, policy=deciding(is_approved=True)))
    (finished,) = [event for event in events if isinstance(event, CallFinished)]
    assert finished.text == 'paid {"a": 1}'
    assert started(events) == [("pay", 0)]
    assert "".join(event.text for event in events if isinstance(event, Text)) == "Done."
    _, written, result = model.bodies[0]["messages"]
    assert [call["id"] for call in written["tool_calls"]] == ["call-pay-0"]
    assert written["tool_calls"][0]["function"] == {"name": "pay", "arguments": '{"a": 1}'}
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", "call-pay-0", 'paid {"a": 1}')


async def test_a_denied_call_is_not_made_and_the_model_reads_why() -> None:
    model = Model(turn(said("A pity.")))
    tools = Tools({"pay": "ask"}, pay=takes(0))
    events = await events_of(loop_of(model, tools, policy=deciding(is_approved=False, reason="Too much.")))
    assert tools.calls == []
    (finished,) = [event for event in events if isinstance(event, CallFinished)]
    assert (finished.code, finished.server, finished.tool) == ("tool_denied", "s", "own-pay")
    assert (
        model.bodies[0]["messages"][-1]["content"]
        == "The call was not made: the user denied it. The user says: Too much."
    )


async def test_what_the_model_wrote_before_the_call_stays_in_its_message() -> None:
    model = Model(turn(said("Done.")))
    loop = loop_of(model, Tools(pay=takes(0)), policy=deciding(is_approved=True))
    given = [{"role": "user", "content": "Pay."}, {"role": "assistant", "content": "Well.", "reasoning_content": "Hm."}]
    await events_of(loop, messages=given)
    _, written, _ = model.bodies[0]["messages"]
    assert (written["content"], written["reasoning_content"]) == ("Well.", "Hm.")
    assert len(written["tool_calls"]) == 1
    assert messages_of(given)[0].text == "Pay."


async def test_a_call_of_a_tool_that_is_gone_is_a_result_for_the_model() -> None:
    model = Model(turn(said("A pity.")))
    events = await events_of(loop_of(model, Tools(), policy=deciding(is_approved=True)))
    (finished,) = [event for event in events if isinstance(event, CallFinished)]
    assert finished.code == "tool_not_found"
    assert end_of(events).reason == "stop"


# The limit of calls.


async def test_calls_beyond_the_limit_are_not_made_and_the_model_goes_on_without_tools() -> None:
    tools = Tools(t=takes(0, "1"))
    model = Model(turn(called("t"), called("t", '{"a": 1}', index=1)), turn(said("One will do.")))
    events = await events_of(loop_of(model, tools, policy=HostCalls(max_calls=1)))
    assert len(tools.calls) == 1
    assert end_of(events).reason == "stop"
    (first, second) = model.bodies
    assert "tools" in first
    assert not second.get("tools")
    assert second["tool_choice"] == "none"
    assert [call["id"] for call in second["messages"][1]["tool_calls"]] == ["call-t-0"]


async def test_the_tools_of_the_client_stay_when_the_limit_is_reached() -> None:
    model = Model(turn(said("Hi.")))
    loop = loop_of(model, Tools(t=takes(0)), policy=HostCalls(max_calls=0), client_tools=["mine"])
    own = {"type": "function", "function": {"name": "mine"}}
    await events_of(loop, tools=[own, {"type": "function", "function": {"name": "t"}}], tool_choice="required")
    assert [tool["function"]["name"] for tool in model.bodies[0]["tools"]] == ["mine"]


async def test_a_model_that_still_wants_a_call_ends_the_answer() -> None:
    model = Model(turn(called("t")), turn(said("Again: "), called("t", '{"a": 1}')))
    end = end_of(await events_of(loop_of(model, Tools(t=takes(0)), policy=HostCalls(max_calls=1))))
    assert end.reason == "stop"
    assert end.details is not None
    assert end.details.kind == "call_limit"


async def test_approved_calls_count_and_failed_ones_too() -> None:
    policy = HostCalls(max_calls=1, pending=deciding(is_approved=True).pending)
    model = Model(turn(said("No.")))
    await events_of(loop_of(model, Tools(pay=fails("tool_failed")), policy=policy))
    assert not model.bodies[0].get("tools")


# The tools that an answer begins with.


def test_tools_are_listed_by_server_and_missing_ones_with_the_reason() -> None:
    tools = (offered("a"), offered("b"))
    given = GrantedTools(tools=tools, missing=(MissingServer(server="gone", state=ServerState.FAILED),))
    listing = first_events(replace(request(), host_calls=HostCalls(lists_tools=True)), given)
    missing, listed, failed = listing
    assert isinstance(missing, ToolsMissing)
    assert isinstance(listed, ToolsListed)
    assert (listed.server, listed.error) == ("s", None)
    assert [(tool.name, tool.tool) for tool in listed.tools] == [("a", "own-a"), ("b", "own-b")]
    assert isinstance(failed, ToolsListed)
    assert (failed.server, failed.tools) == ("gone", ())
    assert "failed" in str(failed.error)


def test_without_being_asked_an_answer_does_not_list_its_tools() -> None:
    assert first_events(request(), GrantedTools(tools=(offered("a"),))) == []

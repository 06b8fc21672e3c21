"""Calls of tools on real servers, above all those that go wrong."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelhost.meters import METERS
from modelhost.tools.callbacks import ApprovalRequest, CallContext, ToolLogLine, ToolProgress
from modelhost.tools.entry import TIMEOUT_SECONDS, Approval
from modelhost.tools.hub import ToolHub
from tests.support.eventually import eventually, eventually_async
from tests.support.mcp_peers import hub_of, sdk_stdio, stub
from tests.support.metrics import metric_value, observed_sum


async def test_results_of_all_kinds(sdk_hub: ToolHub) -> None:
    added = await sdk_hub.call("sdk_add", '{"a": 1, "b": 2}')
    assert (added.is_error, added.structured) == (False, {"total": 3})
    assert '"total"' in added.text
    seen = await sdk_hub.call("sdk_picture", "")
    assert seen.text.splitlines()[0] == "look"
    assert seen.text.endswith("a memo")
    assert [image.media_type for image in seen.images] == ["image/png"]
    assert [block["type"] for block in seen.content] == ["text", "image", "resource"]


@pytest.mark.parametrize(
    ("name", "arguments", "code", "said"),
    [
        ("stub_ecko", {}, "tool_not_found", "Did you mean stub_echo"),
        ("stub_echo", '{"text": ', "invalid_arguments", "not JSON"),
        ("stub_echo", {"text": 3}, "invalid_arguments", "\"text\": 3 is not of type 'string'"),
        ("stub_fail", {"text": "no such city"}, "tool_failed", "no such city"),
        ("stub_hang", {}, "tool_timeout", "did not answer within"),
        ("stub_die", {}, "tool_connection_lost", "It was ended by SIGKILL. It may have run."),
    ],
)
async def test_what_goes_wrong_is_an_outcome_for_the_model(
    name: str, arguments: Mapping[str, Any] | str, code: str, said: str
) -> None:
    async with hub_of(stub(timeout_seconds=0.5)) as hub:
        outcome = await hub.call(name, arguments)
        assert outcome.is_error
        assert outcome.code == code
        assert said in outcome.text
        assert outcome.name == name


async def test_a_tool_that_a_request_was_not_granted_does_not_exist_for_it() -> None:
    async with hub_of(stub()) as hub:
        granted = CallContext(granted=frozenset({"stub_echo"}))
        assert (await hub.call("stub_echo", {"text": "a"}, granted)).text == "a"
        refused = await hub.call("stub_big", {"count": 3}, granted)
        near = await hub.call("stub_bug", {"count": 3}, granted)
    assert (refused.code, near.code) == ("tool_not_found", "tool_not_found")
    assert "stub_big" not in near.text


async def test_null_for_what_may_be_left_out_is_left_out() -> None:
    async with hub_of(stub()) as hub:
        assert (await hub.call("stub_big", {"count": 3, "unit": None})).text == "xxx"
        refused = await hub.call("stub_big", {"count": None, "unit": None})
        assert (refused.code, '"count": None' in refused.text) == ("invalid_arguments", True)


async def test_wrong_arguments_are_not_sent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hub_of(stub(behaviour={"log": str(log)})) as hub:
        await hub.call("stub_echo", {})
        assert "tools/call" not in log.read_text("utf-8")


async def test_a_result_of_5_mb_is_cut_for_the_model(sdk_hub: ToolHub) -> None:
    async with hub_of(stub(), max_result_chars=1000) as hub:
        for outcome in (
            await hub.call("stub_big", {"count": 5_000_000}),
            await sdk_hub.call("strict_big", {"count": 5_000_000}),
        ):
            assert (outcome.is_error, outcome.was_cut) == (False, True)
            assert outcome.text.endswith("[cut: the first 1,000 of 5,000,000 characters are shown]")
            assert len(outcome.content[0]["text"]) == 5_000_000


async def test_images_over_the_limit_are_left_out_with_a_note() -> None:
    async with hub_of(sdk_stdio(), max_image_bytes=69) as hub:
        outcome = await hub.call("sdk_picture", {})
        assert (outcome.images, outcome.was_cut) == ((), True)
        assert outcome.text.endswith("a memo\n[cut: the first 0 of 1 images are shown; the rest is too large]")
        assert [block["type"] for block in outcome.content] == ["text", "image", "resource"]


async def test_a_call_that_cannot_have_run_is_made_again_after_the_restart() -> None:
    async with hub_of(stub()) as hub:
        pid = hub.status("stub").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        # All of its threads have ended, and its pipes with them. The event loop stands still: nobody has noticed yet.
        eventually(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)
        outcome = await hub.call("stub_echo", {"text": "again"})
        assert (outcome.text, outcome.was_retried) == ("again", True)


async def test_a_call_that_may_have_run_is_not_made_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hub_of(stub(behaviour={"log": str(log)})) as hub:
        call = asyncio.create_task(hub.call("stub_sleep", {"seconds": 30}))
        await eventually_async(lambda: "call sleep" in log.read_text("utf-8"))
        pid = hub.status("stub").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert (await call).code == "tool_connection_lost"
        assert (await hub.call("stub_echo", {"text": "a"})).text == "a"
        assert log.read_text("utf-8").count("call sleep") == 1


async def test_a_call_waits_for_a_server_that_is_being_restarted() -> None:
    async with hub_of(stub()) as hub:
        await hub.restart("stub")
        assert (await hub.call("stub_echo", {"text": "a"})).text == "a"


async def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hub_of(stub(behaviour={"log": str(log)})) as hub:
        call = asyncio.create_task(hub.call("stub_sleep", {"seconds": 30}))
        await eventually_async(lambda: "call sleep" in log.read_text("utf-8"))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await eventually_async(lambda: "notifications/cancelled" in log.read_text("utf-8"))
        assert hub.status("stub").in_flight == 0
        assert (await hub.call("stub_echo", {"text": "a"})).text == "a"


async def test_a_late_call_is_cancelled_at_the_server(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hub_of(stub(behaviour={"log": str(log)}, timeout_seconds=0.2)) as hub:
        assert (await hub.call("stub_hang", {})).code == "tool_timeout"
        await eventually_async(lambda: "notifications/cancelled" in log.read_text("utf-8"))


async def test_the_deadline_of_the_context_ends_a_call() -> None:
    async with hub_of(stub()) as hub:
        context = CallContext(deadline=asyncio.get_running_loop().time() + 0.2)
        async with asyncio.timeout(TIMEOUT_SECONDS / 2):  # what ends it is not the timeout of the server
            assert (await hub.call("stub_hang", {}, context)).code == "tool_timeout"


async def test_calls_run_side_by_side_up_to_the_limit_of_the_server() -> None:
    tools = {"tools": ["meet", "at_once"]}
    async with hub_of(stub("wide", behaviour=tools), stub("narrow", behaviour=tools, max_concurrent_calls=1)) as hub:
        await three(hub, "wide_meet", {"count": 3})  # none of them ends before all have begun
        assert await three(hub, "narrow_at_once", {"seconds": 0.1}) == ["1", "1", "1"]


async def three(hub: ToolHub, name: str, arguments: Mapping[str, Any]) -> list[str]:
    """Make the same call three times at once, and return what was said."""
    outcomes = await asyncio.gather(*(hub.call(name, arguments) for _ in range(3)))
    assert not any(outcome.is_error for outcome in outcomes)
    return [outcome.text for outcome in outcomes]


async def test_progress_and_log_messages_reach_the_context(sdk_hub: ToolHub) -> None:
    progress: list[ToolProgress] = []
    logged: list[ToolLogLine] = []

    async def on_progress(step: ToolProgress) -> None:
        progress.append(step)

    async def on_log(line: ToolLogLine) -> None:
        logged.append(line)

    context = CallContext(on_progress=on_progress, on_log=on_log)
    async with hub_of(stub(behaviour={"tools": ["progress"]})) as hub:
        await hub.call("stub_progress", {}, context)
    await sdk_hub.call("sdk_work", {}, context)
    assert [(step.server, step.progress, step.total, step.message) for step in progress] == [
        ("stub", 1, 2, "half"),
        ("sdk", 1, 2, "half"),
    ]
    assert [(line.server, line.level, line.data) for line in logged] == [("stub", "info", "working")]


class Person:
    """Answers every question for approval the same way."""

    def __init__(self, *, agrees: bool | None) -> None:
        self.agrees = agrees
        self.asked: list[ApprovalRequest] = []

    async def approve(self, request: ApprovalRequest) -> bool | None:
        self.asked.append(request)
        return self.agrees


@pytest.mark.parametrize(
    ("of_entry", "of_request", "tool", "is_asked"),
    [
        ("auto", None, "sleep", False),
        ("auto", "ask", "sleep", True),
        ("ask", "auto", "sleep", True),
        ("read_only", None, "pid", False),
        ("read_only", None, "sleep", True),
    ],
)
async def test_who_is_asked(of_entry: Approval, of_request: Approval | None, tool: str, *, is_asked: bool) -> None:
    person = Person(agrees=True)
    arguments = {"seconds": 0} if tool == "sleep" else {}
    async with hub_of(stub(approval=of_entry)) as hub:
        outcome = await hub.call(f"stub_{tool}", arguments, CallContext(approve=person.approve, approval=of_request))
        assert not outcome.is_error
    assert [request.tool for request in person.asked] == ([tool] if is_asked else [])


@pytest.mark.parametrize(
    ("name", "arguments", "of_request", "is_needed"),
    [
        ("stub_echo", {"text": "a"}, None, True),
        ("stub_echo", '{"text": "a"}', None, True),
        ("stub_echo", {}, None, False),
        ("stub_echo", '{"text": ', None, False),
        ("stub_echo", {"text": "a"}, "deny", False),
        ("stub_pid", {}, None, False),
        ("stub_pid", {}, "ask", True),
        ("stub_nothing", {}, None, False),
    ],
)
async def test_only_calls_that_could_be_made_need_approval(
    name: str, arguments: dict[str, str] | str, of_request: Approval | None, *, is_needed: bool
) -> None:
    async with hub_of(stub(approval="ask", tool_approvals={"pid": "auto"})) as hub:
        assert hub.needs_approval(name, arguments, CallContext(approval=of_request)) is is_needed
        assert not hub.needs_approval(name, arguments, CallContext(approval=of_request, granted=frozenset()))


async def test_a_call_that_nobody_approves_is_denied_with_the_reason() -> None:
    person = Person(agrees=False)
    async with hub_of(stub(approval="ask", tool_approvals={"pid": "deny"})) as hub:
        refused = await hub.call("stub_echo", {"text": "a"}, CallContext(approve=person.approve))
        assert (refused.code, person.asked[0].arguments) == ("tool_denied", {"text": "a"})
        assert refused.text == "The call did not run: it was denied."
        unanswered = await hub.call("stub_echo", {"text": "a"}, CallContext(approve=Person(agrees=None).approve))
        assert unanswered.code == "tool_denied"
        assert unanswered.text == "The call did not run: the request for approval was not answered."
        alone = await hub.call("stub_echo", {"text": "a"})
        assert (alone.code, "there is no one to ask" in alone.text) == ("tool_denied", True)
        forbidden = await hub.call("stub_pid", {}, CallContext(approve=Person(agrees=True).approve))
        assert forbidden.code == "tool_denied"


async def test_the_failure_of_a_callback_is_raised_and_not_told_to_the_model() -> None:
    async def approve(_: ApprovalRequest) -> bool:
        raise RuntimeError("the terminal is gone")

    async with hub_of(stub(approval="ask")) as hub:
        with pytest.raises(RuntimeError, match="the terminal is gone"):
            await hub.call("stub_echo", {"text": "a"}, CallContext(approve=approve))


async def test_latencies_and_failures_are_counted() -> None:
    async with hub_of(stub()) as hub:
        await hub.call("stub_echo", {"text": "a"})
        await hub.call("stub_fail", {"text": "a"})
        status = hub.status("stub")
        assert (status.calls, status.failed_calls) == (2, 1)
        assert status.latency_p50_seconds is not None
        assert status.latency_p50_seconds < 1


async def test_calls_are_counted_by_server_tool_and_outcome(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def counted(*labels: str) -> float:
        return metric_value(METERS.tool_calls, *labels)

    kinds = {
        ("counted", "echo", "ok"): ("counted_echo", {"text": "hello"}),
        ("counted", "echo", "invalid_arguments"): ("counted_echo", {}),
        ("counted", "fail", "tool_failed"): ("counted_fail", {"text": "no"}),
        ("counted", "hang", "tool_timeout"): ("counted_hang", {}),
        ("", "", "tool_not_found"): ("counted_nothing", {}),
    }
    before = {labels: counted(*labels) for labels in kinds}
    async with hub_of(stub("counted", timeout_seconds=0.3, behaviour={"log": str(log)})) as hub:
        for name, arguments in kinds.values():
            await hub.call(name, arguments)
        assert {labels: counted(*labels) - before[labels] for labels in kinds} == dict.fromkeys(kinds, 1.0)
        hanging = asyncio.create_task(hub.call("counted_hang", {}))
        await eventually_async(lambda: log.read_text("utf-8").count("call hang") == 2)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
    assert counted("counted", "hang", "cancelled") == 1
    assert observed_sum(METERS.tool_call_seconds, "counted", "hang") > 0.3

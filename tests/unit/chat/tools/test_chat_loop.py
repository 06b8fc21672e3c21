"""The tool loop: what the client gets, what the model sees, when calls run, and when the host ends it."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from modelhost.chat import usage
from modelhost.chat.tools.answer_stream import PIECES_AHEAD
from modelhost.errors import ModelFailed
from modelhost.tools.callbacks import CallContext, ToolLogLine, ToolProgress
from tests.support.loop_world import (
    Chunk,
    Model,
    Tools,
    called,
    chunks_of,
    delta,
    details,
    fails,
    loop_of,
    ran,
    reasons,
    said,
    streamed,
    takes,
    text_of,
    told,
    turn,
    used,
    whole,
)

pytestmark = pytest.mark.usefixtures("virtual_time")


# What the client gets.


async def test_text_comes_as_it_is_written() -> None:
    goes_on = asyncio.Event()
    model = Model(turn(said("one "), goes_on, said("two")))
    async with aclosing(streamed(loop_of(model))) as found:
        seen = [await anext(found), await anext(found)]
        assert text_of(seen) == "one "
        assert model.is_writing
        goes_on.set()
        assert text_of([chunk async for chunk in found]) == "two"


async def test_all_turns_are_one_answer_with_one_role_one_id_and_one_end() -> None:
    second = [{**step, "id": "chatcmpl-2"} if isinstance(step, dict) else step for step in turn(said("It is 5."))]
    chunks = await ran(Model(turn(said("Let me see. "), called("now")), second), Tools(now=takes(1, "5")))
    assert text_of(chunks) == "Let me see. It is 5."
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-1"}
    assert [chunk for chunk in chunks for choice in chunk["choices"] if "role" in choice["delta"]] == chunks[:1]
    assert reasons(chunks) == ["stop"]
    assert chunks[-1]["choices"] == []
    assert not any("tool_calls" in choice["delta"] for chunk in chunks for choice in chunk["choices"])


async def test_an_engine_that_sends_no_role_gets_one() -> None:
    chunks = await ran(Model([*said("a", "b"), delta("stop"), used()]))
    assert [choice["delta"] for chunk in chunks[:2] for choice in chunk["choices"]] == [
        {"role": "assistant", "content": "a"},
        {"content": "b"},
    ]


async def test_what_nobody_here_knows_is_passed_on() -> None:
    chunks = await ran(Model(turn([delta(audio={"id": "a"})], said("Hi"), [delta(audio={"id": "b"}, content="!")])))
    found = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert {"audio": {"id": "a"}} in found
    assert {"audio": {"id": "b"}, "content": "!"} in found


async def test_reasoning_is_passed_on_and_stands_in_the_next_prompt() -> None:
    model = Model(turn([delta(reasoning_content="Hm.")], called("now")), turn(said("5")))
    chunks = await ran(model, Tools(now=takes(0)))
    thoughts = [choice["delta"].get("reasoning_content") for chunk in chunks for choice in chunk["choices"]]
    assert thoughts.count("Hm.") == 1
    assert model.bodies[1]["messages"][1]["reasoning_content"] == "Hm."


async def test_calls_and_results_are_told() -> None:
    chunks = await ran(Model(turn(called("add", '{"a": 1}')), turn(said("1"))), Tools(add=takes(0.5, "one")))
    assert told(chunks, "tool_call") == [{"id": "call-add-0", "name": "add", "arguments": {"a": 1}}]
    (result,) = told(chunks, "tool_result")
    assert (result["id"], result["server"], result["tool"]) == ("call-add-0", "s", "add")
    assert (result["is_error"], result["code"], result["text"]) == (False, None, "one")


async def test_progress_and_log_lines_are_told() -> None:
    async def tool(_: Any, context: CallContext) -> str:
        assert context.on_progress is not None
        assert context.on_log is not None
        await context.on_progress(ToolProgress(server="s", tool="t", progress=1, total=2, message="half"))
        await context.on_log(ToolLogLine(server="s", level="info", logger=None, data="working"))
        return "done"

    chunks = await ran(Model(turn(called("t")), turn(said("ok"))), Tools(t=tool))
    assert told(chunks, "tool_progress") == [{"id": "call-t-0", "progress": 1, "total": 2, "message": "half"}]
    assert told(chunks, "tool_log") == [{"server": "s", "level": "info", "logger": None, "data": "working"}]


async def test_calls_of_one_answer_have_the_same_listener_for_log_lines() -> None:
    listeners = set()

    async def tool(_: Any, context: CallContext) -> str:
        listeners.add(context.on_log)
        return "done"

    await ran(Model(turn(called("t"), called("t", '{"a": 1}', index=1)), turn(said("ok"))), Tools(t=tool))
    assert len(listeners) == 1


async def test_usage_is_the_sum_of_the_turns() -> None:
    model = Model(turn(called("now"), usage=used(10, 2, 0)), turn(said("5"), usage=used(20, 3, 12)))
    chunks = await ran(model, Tools(now=takes(0)))
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 30,
        "completion_tokens": 5,
        "total_tokens": 35,
        "prompt_tokens_details": {"cached_tokens": 12},
    }
    assert [chunk for chunk in chunks if chunk.get("usage")] == chunks[-1:]


def test_usage_adds_what_only_one_of_both_has() -> None:
    assert usage.add_usage({"a": 1, "d": {"x": 1}, "n": None}, {"b": 2, "d": {"y": 2}, "n": None}) == {
        "a": 1,
        "b": 2,
        "d": {"x": 1, "y": 2},
        "n": None,
    }


async def test_whole_answer_lists_the_calls_and_how_it_ended() -> None:
    model = Model(turn(said("a"), called("now")), turn(called("now", index=0, id_="again")))
    answer = await whole(loop_of(model, Tools(now=takes(0, "5")), turns=2))
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "a"}
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["modelhost.finish_details"]["type"] == "turn_limit"
    (call,) = answer["modelhost.tool_calls"]
    assert (call["name"], call["arguments"], call["text"]) == ("now", {}, "5")
    assert answer["usage"]["completion_tokens"] == 4


async def test_whole_answer_leaves_out_what_happened_on_the_way() -> None:
    async def tool(_: Any, context: CallContext) -> str:
        assert context.on_progress is not None
        assert context.on_log is not None
        await context.on_progress(ToolProgress(server="s", tool="t", progress=1, total=2, message="half"))
        await context.on_log(ToolLogLine(server="s", level="info", logger=None, data="working"))
        await asyncio.sleep(1000)
        return "done"

    loop = loop_of(Model(turn(called("t"))), Tools(t=tool), seconds=30)
    answer = await whole(loop)
    assert {key for key in answer if key.startswith("modelhost.")} == {
        "modelhost.tool_calls",
        "modelhost.finish_details",
    }
    assert answer["modelhost.tool_calls"] == [{"id": "call-t-0", "name": "t", "arguments": {}}]


# When calls run.


async def test_call_begins_while_the_model_still_writes_the_next_one() -> None:
    has_begun = asyncio.Event()
    model = Model(turn(called("first"), called("second", index=1), has_begun, said("x")), turn(said("ok")))

    async def first(_: Any, __: CallContext) -> str:
        assert model.is_writing
        has_begun.set()  # the model waits for this: a call that began at the end of the turn would never do it
        return "1"

    chunks = await ran(model, Tools(first=first, second=takes(0)))
    assert text_of(chunks) == "xok"


async def test_calls_of_a_turn_run_side_by_side_and_their_results_stand_in_the_order_of_the_calls() -> None:
    model = Model(
        turn(called("slow"), called("quick", index=1), called("middle", index=2)),
        turn(said("ok")),
    )
    tools = Tools(slow=takes(0.3, "S"), quick=takes(0.1, "Q"), middle=takes(0.2, "M"))
    chunks = await ran(model, tools)
    assert asyncio.get_running_loop().time() == pytest.approx(0.3)
    assert tools.most_running == 3
    assert [result["name"] for result in told(chunks, "tool_result")] == ["quick", "middle", "slow"]
    asked, *results = model.bodies[1]["messages"][1:]
    assert [call["function"]["name"] for call in asked["tool_calls"]] == ["slow", "quick", "middle"]
    assert results == [
        {"role": "tool", "tool_call_id": call["id"], "content": text}
        for call, text in zip(asked["tool_calls"], "SQM", strict=True)
    ]


@pytest.mark.parametrize("code", ["tool_failed", "tool_denied", "tool_timeout", "tool_connection_lost"])
async def test_failed_call_is_a_result_that_the_model_sees(code: str) -> None:
    model = Model(turn(called("t")), turn(said("sorry")))
    chunks = await ran(model, Tools(t=fails(code, "it is broken")))
    assert told(chunks, "tool_result")[0]["code"] == code
    assert model.bodies[1]["messages"][-1]["content"] == "it is broken"
    assert (reasons(chunks), details(chunks)) == (["stop"], None)


async def test_unknown_tool_is_a_result_that_the_model_sees() -> None:
    model = Model(turn(called("nowhere")), turn(said("sorry")))
    chunks = await ran(model)
    assert model.bodies[1]["messages"][-1]["content"] == "there is no nowhere"
    assert text_of(chunks) == "sorry"


async def test_first_turns_body_is_the_clients_and_what_it_demands_holds_for_it_only() -> None:
    model = Model(turn(called("now")), turn(said("ok")))

    await chunks_of(loop_of(model, Tools(now=takes(0))), tool_choice="required", temperature=0.5)
    assert [found["tool_choice"] for found in model.bodies] == ["required", "auto"]
    assert [found["temperature"] for found in model.bodies] == [0.5, 0.5]
    assert [len(found["messages"]) for found in model.bodies] == [1, 3]


# Its ends.


async def test_malformed_call_gets_one_turn_of_repair_and_is_then_text() -> None:
    bad = turn(said("Calling. "), called("t", '{"a": '))
    model = Model(bad, turn(called("t", '{"a":', id_="again")))
    chunks = await ran(model, Tools(t=fails("invalid_arguments", "no JSON")))
    assert model.bodies[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"a": '
    assert model.bodies[1]["messages"][2]["content"] == "no JSON"
    assert text_of(chunks) == 'Calling. t {"a":'
    assert (reasons(chunks), details(chunks)) == (["stop"], "malformed_call")
    assert told(chunks, "tool_call")[0]["arguments"] == '{"a": '


async def test_malformed_call_that_was_repaired_is_forgiven() -> None:
    def malformed(number: int) -> Any:
        return turn(called("bad", f'{{"a": {number}'))

    model = Model(malformed(1), turn(called("good")), malformed(2), turn(said("ok")))
    chunks = await ran(model, Tools(bad=fails("invalid_arguments"), good=takes(0)))
    assert (text_of(chunks), details(chunks)) == ("ok", None)


async def test_last_turn_allowed_makes_no_calls() -> None:
    model = Model(*(turn(called("t", json.dumps({"n": number}))) for number in range(3)))
    tools = Tools(t=takes(0))
    chunks = await ran(model, tools, turns=3)
    assert (reasons(chunks), details(chunks)) == (["length"], "turn_limit")
    assert len(model.bodies) == 3
    assert [json.loads(arguments) for _, arguments in tools.calls] == [{"n": 0}, {"n": 1}]
    assert chunks[-1]["usage"]["completion_tokens"] == 6


async def test_same_call_in_a_third_turn_is_not_made_and_ends_the_loop() -> None:
    same = ['{"a": 1, "b": 2}', '{"b": 2, "a": 1}', '{"a":1,"b":2}']
    model = Model(*(turn(called("other", str(index)), called("t", text, index=1)) for index, text in enumerate(same)))
    tools = Tools(t=takes(0), other=takes(1))
    chunks = await ran(model, tools)
    assert details(chunks) == "repeated_call"
    assert "wanted t " in told(chunks, "finish_details")[0]["message"]
    assert [name for name, _ in tools.calls] == ["other", "t", "other", "t", "other"]
    assert len(told(chunks, "tool_result")) == 5
    assert tools.cancelled == []


async def test_same_call_several_times_in_one_turn_is_no_repetition() -> None:
    model = Model(turn(*(called("dice", index=index) for index in range(4))), turn(said("ok")))
    chunks = await ran(model, Tools(dice=takes(0, "6")))
    assert (text_of(chunks), details(chunks)) == ("ok", None)
    assert len(told(chunks, "tool_result")) == 4


async def test_wall_time_ends_the_loop_and_its_calls() -> None:
    model = Model(turn(said("Wait. "), called("slow")))
    tools = Tools(slow=takes(1000))
    chunks = await ran(model, tools, seconds=30)
    assert (reasons(chunks), details(chunks)) == (["length"], "time_limit")
    assert tools.cancelled == ["slow"]
    assert told(chunks, "tool_cancelled") == [{"id": "call-slow-0", "name": "slow"}]
    assert chunks[-1]["usage"]["completion_tokens"] == 2


async def test_wall_time_ends_the_models_writing() -> None:
    model = Model(turn(said("One "), 1000.0, said("two")))
    chunks = await ran(model, seconds=30)
    assert (text_of(chunks), details(chunks)) == ("One ", "time_limit")
    assert model.was_cancelled


async def test_deadline_is_told_to_the_calls() -> None:
    deadlines = []

    async def tool(_: Any, context: CallContext) -> str:
        deadlines.append(context.deadline)
        return "ok"

    await ran(Model(turn(5.0, called("t")), turn(said("ok"))), Tools(t=tool), seconds=30)
    assert deadlines == [30]


async def test_timeout_of_the_models_side_is_its_error_and_not_the_loops_end() -> None:
    with pytest.raises(TimeoutError, match="socket"):
        await ran(Model(turn(TimeoutError("socket"))))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_token_budget_holds_for_all_turns_together(field: str) -> None:
    model = Model(
        turn(called("t", '{"n": 1}'), usage=used(10, 6)),
        turn(called("t", '{"n": 2}'), usage=used(10, 4)),
        turn(said("never")),
    )

    chunks = await chunks_of(loop_of(model, Tools(t=takes(0))), **{field: 10})
    assert [found["max_tokens"] for found in model.bodies] == [10, 4]
    assert not any("max_completion_tokens" in found for found in model.bodies)
    assert (reasons(chunks), details(chunks)) == (["length"], "token_limit")


async def test_request_that_stands_too_deep_in_calls_has_none_made() -> None:
    tools = Tools(t=takes(0))
    chunks = await ran(Model(turn(said("Hm. "), called("t"))), tools, context=CallContext(depth=5), depth=5)
    assert (text_of(chunks), reasons(chunks), details(chunks)) == ("Hm. ", ["length"], "depth_limit")
    assert tools.calls == []


async def test_request_below_the_depth_limit_tells_its_depth() -> None:
    depths = []

    async def tool(_: Any, context: CallContext) -> str:
        depths.append(context.depth)
        return "ok"

    chunks = await ran(Model(turn(called("t")), turn(said("ok"))), Tools(t=tool), context=CallContext(depth=4), depth=5)
    assert (depths, details(chunks)) == ([4], None)


async def test_answer_without_calls_needs_no_depth() -> None:
    chunks = await ran(Model(turn(said("Hello"))), context=CallContext(depth=9), depth=5)
    assert (text_of(chunks), reasons(chunks), details(chunks)) == ("Hello", ["stop"], None)


# The client that leaves, and the one that is slow.


async def test_closing_the_answer_cancels_the_models_writing_and_the_calls() -> None:
    model = Model(turn(called("slow"), called("next", index=1), 1000.0))
    tools = Tools(slow=takes(1000), next=takes(1000))
    async with aclosing(streamed(loop_of(model, tools))) as chunks:
        async for chunk in chunks:
            if "modelhost.tool_call" in chunk:
                break
    assert model.was_cancelled
    assert tools.cancelled == ["slow"]
    assert (tools.running, len(asyncio.all_tasks())) == (0, 1)  # this test


async def test_error_of_the_models_side_comes_before_the_first_chunk() -> None:
    loop = loop_of(Model([ModelFailed("it is gone")]))
    with pytest.raises(ModelFailed):
        await anext(streamed(loop))


async def test_error_of_the_models_side_in_a_later_turn_comes_after_what_was_said() -> None:
    model = Model(turn(said("Let me see."), called("now")), [ModelFailed("it is gone")])
    seen: list[Chunk] = []

    async def read() -> None:
        async for chunk in streamed(loop_of(model, Tools(now=takes(0)))):
            seen.append(chunk)  # noqa: PERF401 (it ends with an error)

    with pytest.raises(ModelFailed):
        await read()
    assert text_of(seen) == "Let me see."
    assert len(told(seen, "tool_result")) == 1


async def test_error_of_the_models_side_ends_the_calls_of_its_turn() -> None:
    model = Model(turn(called("slow"), called("next", index=1), 1.0, ModelFailed("it is gone")))
    tools = Tools(slow=takes(1000), next=takes(0))
    with pytest.raises(ModelFailed):
        await chunks_of(loop_of(model, tools))
    assert tools.cancelled == ["slow"]


async def test_slow_reader_holds_the_model_back() -> None:
    words = 10 * PIECES_AHEAD
    model = Model([*said(*["x"] * words), used()])
    async with aclosing(streamed(loop_of(model))) as chunks:
        await anext(chunks)
        await asyncio.sleep(60)
        assert model.written <= PIECES_AHEAD + 2
        assert len(text_of([chunk async for chunk in chunks])) == words - 1


async def test_slow_reader_does_not_hold_a_servers_progress_back() -> None:
    async def tool(_: Any, context: CallContext) -> str:
        assert context.on_progress is not None
        for step in range(10 * PIECES_AHEAD):
            await context.on_progress(ToolProgress(server="s", tool="t", progress=step, total=None, message=None))
        return "done"

    model = Model(turn(called("t")), turn(said("ok")))
    async with aclosing(streamed(loop_of(model, Tools(t=tool)))) as chunks:
        seen = [await anext(chunks)]
        await asyncio.sleep(60)
        seen += [chunk async for chunk in chunks]
    assert text_of(seen) == "ok"
    assert 0 < len(told(seen, "tool_progress")) <= PIECES_AHEAD

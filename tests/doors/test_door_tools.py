"""Tools: those of the client, which the model calls for it, and those of the host, which runs them itself."""

from __future__ import annotations

import json

from tests.doors.door import Door
from tests.doors.doors import over
from tests.doors.talk import Ask, Call
from tests.support.eventually import eventually_async

ARGUMENTS = '{"city": "Pa\u0301ris", "days": [2]}'
CALL = f"/call weather {ARGUMENTS}"
TOOLS = ("weather", "hotel")
ECHO = '/call stub_echo {"text": "four"}'
NEEDS_A_YES = '/call stub_big {"count": 3}'
SAID = "This is the scripted engine."
"""What the script says once there is a result."""


async def shown(door: Door) -> tuple[list[str], str | None]:
    """The names of the tools that the engine was shown, and the choice."""
    body = (await door.world.engine())["last_body"]
    return [tool["function"]["name"] for tool in body.get("tools", ())], body.get("tool_choice")


@over("tools")
async def test_a_call_is_handed_to_the_client(door: Door) -> None:
    got = await door.ask(Ask(said=CALL, tools=TOOLS))
    (call,) = got.calls
    assert (call.name, json.loads(call.arguments), bool(call.id)) == ("weather", json.loads(ARGUMENTS), True)
    assert (got.text, got.finish) == ("", "tool_calls")
    assert await shown(door) == (list(TOOLS), None)


@over("tools")
async def test_several_calls_of_one_turn_are_kept_apart(door: Door) -> None:
    got = await door.ask(Ask(said="both cities", tools=TOOLS))
    assert [json.loads(call.arguments) for call in got.calls] == [{"city": "Paris"}, {"city": "Rome"}]
    assert len({call.id for call in got.calls}) == 2


@over("tools")
async def test_arguments_that_are_no_json_come_as_they_are(door: Door) -> None:
    got = await door.ask(Ask(said='/call weather {"city": ', tools=TOOLS))
    assert [(call.name, call.arguments) for call in got.calls] == [("weather", '{"city":')]
    assert got.finish == "tool_calls"


@over("tools")
async def test_results_lead_to_an_answer(door: Door) -> None:
    call = Call(id="call_1", name="weather", arguments=ARGUMENTS)
    got = await door.ask(Ask(said="both cities", tools=TOOLS, results=((call, "rain"),)))
    assert (got.text, got.calls, got.finish) == ("Rain in both.", [], "stop")
    messages = (await door.world.engine())["last_body"]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["tool_calls"][0]["function"]["name"] == "weather"
    assert (messages[2]["tool_call_id"], messages[2]["content"]) == ("call_1", "rain")


@over("tools")
async def test_a_named_choice_leaves_the_model_no_other(door: Door) -> None:
    got = await door.ask(Ask(said=CALL, tools=TOOLS, choice="weather"))
    assert [call.name for call in got.calls] == ["weather"]
    assert await shown(door) == (["weather"], "required")


@over("tools")
async def test_a_required_call_is_demanded_of_the_engine(door: Door) -> None:
    assert [call.name for call in (await door.ask(Ask(said=CALL, tools=TOOLS, choice="required"))).calls] == ["weather"]
    assert await shown(door) == (list(TOOLS), "required")


@over("tools")
async def test_without_a_choice_there_is_no_call(door: Door) -> None:
    got = await door.ask(Ask(said=CALL, tools=TOOLS, choice="none"))
    assert (got.calls, got.finish) == ([], "stop")
    assert got.text.startswith(SAID)
    assert await shown(door) == ([], None)


@over("tools")
async def test_a_choice_that_cannot_be_met_is_the_callers_fault(door: Door) -> None:
    for tools in (TOOLS, ()):
        got = await door.ask(Ask(said=CALL, tools=tools, choice="nothing"))
        assert got.failure is not None
        assert got.failure.code == "invalid_request"
        assert "tool_choice" in got.failure.message


@over("tools")
async def test_two_tools_of_one_name_are_refused(door: Door) -> None:
    got = await door.ask(Ask(said=CALL, tools=(*TOOLS, "weather")))
    if door.takes_same_names:
        assert [call.name for call in got.calls] == ["weather"]
        return
    assert got.failure is not None
    assert got.failure.code == "invalid_request"
    assert 'another tool is called "weather"' in got.failure.message


# Of the host.


@over("host tools", tools=True)
async def test_the_host_runs_its_own_tools(door: Door) -> None:
    before, _ = door.world.tool_calls
    got = await door.ask(Ask(said=ECHO))
    assert got.text.startswith(SAID)
    assert (got.calls, got.failure) == ([], None)
    assert door.world.tool_calls == (before + 1, 0)
    if door.can("host calls"):
        assert [(ran.name, ran.text, ran.is_error) for ran in got.ran] == [("stub_echo", "four", False)]
    if door.can("finish"):
        assert got.finish == "stop"


@over("host tools", tools=True)
async def test_what_goes_wrong_with_a_call_is_for_the_model(door: Door) -> None:
    got = await door.ask(Ask(said="/call stub_echo {}"))
    assert got.text.startswith(SAID)
    if door.can("host calls"):
        assert [(ran.name, ran.is_error) for ran in got.ran] == [("stub_echo", True)]


@over("tools", tools=True)
async def test_tools_of_the_client_stand_in_for_those_of_the_host(door: Door) -> None:
    got = await door.ask(Ask(said=CALL, tools=TOOLS))
    assert ([call.name for call in got.calls], got.ran, got.finish) == (["weather"], [], "tool_calls")
    assert (await shown(door))[0] == list(TOOLS)


@over("tools", "host tools", tools=True)
async def test_tools_of_the_client_and_of_the_host_come_together_where_both_are_demanded(door: Door) -> None:
    before, _ = door.world.tool_calls
    got = await door.ask(Ask(said=ECHO, tools=TOOLS, has_host_tools=True))
    assert (got.calls, got.failure) == ([], None)
    assert got.text.startswith(SAID)
    assert door.world.tool_calls == (before + 1, 0)
    assert (await shown(door))[0][: len(TOOLS) + 1] == [*TOOLS, "stub_echo"]
    got = await door.ask(Ask(said=CALL, tools=TOOLS, has_host_tools=True))
    assert ([call.name for call in got.calls], got.ran, got.finish) == (["weather"], [], "tool_calls")
    assert door.world.tool_calls == (before + 1, 0)


@over("host tools", "questions", tools=True)
async def test_a_call_runs_once_somebody_has_agreed(door: Door) -> None:
    for approve, result in ((True, "xxx"), (False, "The call did not run: it was denied.")):
        before, _ = door.world.tool_calls
        async with door.asking(Ask(said=NEEDS_A_YES)) as (got, task):
            await eventually_async(lambda got=got: got.questions)  # type: ignore[misc]
            assert door.world.tool_calls == (before, 0)
            await door.world.agree(got.questions[0], approve=approve)
            await task
        assert [(ran.text, ran.is_error) for ran in got.ran] == [(result, not approve)]
        assert got.text.startswith(SAID)
        assert door.world.tool_calls == (before + approve, 0)


@over("host tools", without="questions", tools=True)
async def test_where_nobody_can_be_asked_a_call_is_not_made(door: Door) -> None:
    before, _ = door.world.tool_calls
    got = await door.ask(Ask(said=NEEDS_A_YES))
    assert got.text.startswith(SAID)
    assert door.world.tool_calls == (before, 0)
    if door.can("host calls"):
        assert [(ran.name, ran.is_error) for ran in got.ran] == [("stub_big", True)]


@over("host tools", "leaving at any time", tools=True)
async def test_leaving_ends_the_call_that_runs(door: Door) -> None:
    async with door.asking(Ask(said='/call stub_sleep {"seconds": 60}')):
        await eventually_async(lambda: door.world.tool_calls[1] == 1)
    await eventually_async(lambda: door.world.tool_calls[1] == 0)


@over("host tools", calls_tools=False)
async def test_a_model_that_cannot_have_tools_answers_without_those_that_nobody_asked_for(door: Door) -> None:
    got = await door.ask(Ask(said=ECHO))
    assert (got.calls, got.ran, got.failure) == ([], [], None)
    assert got.text.startswith(SAID)
    assert await shown(door) == ([], None)
    if door.can("sessions"):
        for number in (1, 2):
            assert (await door.ask(Ask(said=ECHO, session=f"{door.name}-no-calls"))).failure is None, number
    assert door.world.tool_calls == (0, 0)


@over("tools", "host tools", calls_tools=False)
async def test_a_model_that_cannot_have_tools_is_refused_those_that_a_request_names(door: Door) -> None:
    for ask in (Ask(said=CALL, tools=TOOLS), Ask(said=ECHO, choice="required")):
        got = await door.ask(ask)
        assert got.failure is not None
        assert "tools: the script calls none" in got.failure.message

"""What servers ask of the host: a model's words, a person's answer, the folders; in both eras of the protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from modelhost.errors import ModelFailed
from modelhost.tools.callbacks import (
    ApprovalRequest,
    CallContext,
    ElicitationAnswer,
    ElicitationRequest,
    SamplingAnswer,
    SamplingRequest,
)
from modelhost.tools.entry import SamplingPolicy
from modelhost.tools.hub import ToolHub
from tests.integration.tools.conftest import ROOTS, Poet
from tests.support.eventually import eventually_async
from tests.support.mcp_peers import hub_of, stub

ASKING = {"tools": ["elicitation/create", "sampling/createMessage", "roots/list"]}
FORM = {
    "message": "What is your name?",
    "requestedSchema": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"type": "integer", "default": 3}},
    },
}
WISH = {"messages": [{"role": "user", "content": {"type": "text", "text": "Write."}}], "maxTokens": 900}


class Sick:
    async def sample(self, _: SamplingRequest) -> SamplingAnswer:
        raise ModelFailed("the model nano could not be started")


class Person:
    def __init__(self, answer: ElicitationAnswer, *, thinks: Callable[[], Awaitable[object]] | None = None) -> None:
        self.answer = answer
        self.thinks = thinks
        self.asked: list[ElicitationRequest] = []

    async def elicit(self, request: ElicitationRequest) -> ElicitationAnswer:
        self.asked.append(request)
        if self.thinks is not None:
            await self.thinks()
        return self.answer


ANNA = ElicitationAnswer(action="accept", content={"name": "Anna"})


async def asked(hub: ToolHub, method: str, arguments: Any, context: CallContext | None = None) -> Any:
    """What a server of the handshake era gets as an answer."""
    tool = next(tool for tool in hub.offered() if tool.tool == method)
    return json.loads((await hub.call(tool.name, arguments, context or CallContext())).text)


async def test_a_question_goes_to_the_person_of_the_call(sdk_hub: ToolHub) -> None:
    person = Person(ANNA)
    context = CallContext(elicit=person.elicit)
    async with hub_of(stub(behaviour=ASKING)) as hub:
        answer = await asked(hub, "elicitation/create", FORM, context)
    assert answer == {"action": "accept", "content": {"name": "Anna", "size": 3}}
    assert (await sdk_hub.call("sdk_hello", {}, context)).text == "accept: Anna"
    assert [(request.server, request.message) for request in person.asked] == [
        ("stub", "What is your name?"),
        ("sdk", "What is your name?"),
    ]
    assert "name" in person.asked[1].schema["properties"]


async def test_a_question_is_declined_when_nobody_is_there(sdk_hub: ToolHub) -> None:
    async with hub_of(stub(behaviour=ASKING)) as hub:
        assert await asked(hub, "elicitation/create", FORM) == {"action": "decline"}
    assert (await sdk_hub.call("sdk_hello", {})).text.startswith("decline")


async def test_a_question_is_declined_when_it_is_not_certain_whom_it_is_for() -> None:
    one, other = Person(ANNA), Person(ANNA)
    async with hub_of(stub(behaviour={"tools": ["elicitation/create", "hang"]})) as hub:
        busy = asyncio.create_task(hub.call("stub_hang", {}, CallContext(elicit=other.elicit)))
        await eventually_async(lambda: hub.status("stub").in_flight == 1)
        assert await asked(hub, "elicitation/create", FORM, CallContext(elicit=one.elicit)) == {"action": "decline"}
        busy.cancel()
        # In the era after it the question comes as the answer to the call: there it is always certain.
    assert one.asked == other.asked == []


async def test_two_calls_of_one_person_may_both_ask() -> None:
    context = CallContext(elicit=Person(ANNA).elicit)
    async with hub_of(stub(behaviour={"tools": ["elicitation/create", "hang"]})) as hub:
        busy = asyncio.create_task(hub.call("stub_hang", {}, context))
        await eventually_async(lambda: hub.status("stub").in_flight == 1)
        assert (await asked(hub, "elicitation/create", FORM, context))["action"] == "accept"
        busy.cancel()


async def test_the_timeout_of_a_tool_stands_still_while_a_person_thinks(sdk_hub: ToolHub) -> None:
    async with hub_of(stub(behaviour=ASKING, timeout_seconds=0.5), stub("other", timeout_seconds=1.6)) as hub:

        async def longer_than_a_timeout() -> None:
            assert (await hub.call("other_hang", {})).code == "tool_timeout"

        person = Person(ANNA, thinks=longer_than_a_timeout)
        answer = await asked(hub, "elicitation/create", FORM, CallContext(elicit=person.elicit))
        assert answer["action"] == "accept"
        assert (await sdk_hub.call("sdk_hello", {}, CallContext(elicit=person.elicit))).text == "accept: Anna"
    person = Person(ANNA, thinks=asyncio.Event().wait)
    late = CallContext(elicit=person.elicit, deadline=asyncio.get_running_loop().time() + 0.2)
    assert (await sdk_hub.call("sdk_hello", {}, late)).code == "tool_timeout"


async def test_a_model_writes_for_a_server_whose_policy_allows_it(sdk_hub: ToolHub, poet: Poet) -> None:
    policy = SamplingPolicy(mode="auto", max_tokens=40)
    own = Poet()
    async with hub_of(stub(behaviour=ASKING, sampling=policy), sampler=own) as hub:
        answer = await asked(hub, "sampling/createMessage", WISH)
    assert (answer["content"]["text"], answer["model"]) == ("old pond", "nano")
    assert "old pond" in (await sdk_hub.call("sdk_haiku", {})).text
    assert [request.max_tokens for request in (own.asked[-1], poet.asked[-1])] == [40, 40]
    assert poet.asked[-1].messages == ({"role": "user", "content": "Write a haiku."},)


async def test_no_model_writes_for_a_server_whose_policy_is_off(sdk_hub: ToolHub, poet: Poet) -> None:
    before = len(poet.asked)
    async with hub_of(stub(behaviour=ASKING), sampler=poet) as hub:
        assert "code" in await asked(hub, "sampling/createMessage", WISH)
    outcome = await sdk_hub.call("strict_haiku", {})
    assert (outcome.is_error, outcome.code) == (True, "tool_failed")
    assert len(poet.asked) == before


@pytest.mark.parametrize("agrees", [True, False])
async def test_a_policy_of_asking_asks(*, agrees: bool) -> None:
    wishes: list[ApprovalRequest] = []

    async def approve(request: ApprovalRequest) -> bool:
        wishes.append(request)
        return agrees

    poet = Poet()
    async with hub_of(stub(behaviour=ASKING, sampling=SamplingPolicy(mode="ask")), sampler=poet) as hub:
        answer = await asked(hub, "sampling/createMessage", WISH, CallContext(approve=approve))
        assert ("content" in answer) is agrees
        assert (wishes[0].kind, wishes[0].server, wishes[0].arguments["maxTokens"]) == ("sampling", "stub", 900)
        assert "Nobody was there" in (await asked(hub, "sampling/createMessage", WISH))["message"]
    assert len(poet.asked) == agrees


async def test_a_model_that_cannot_write_is_an_error_that_the_server_sees() -> None:
    async with hub_of(stub(behaviour=ASKING, sampling=SamplingPolicy(mode="auto")), sampler=Sick()) as hub:
        answer = await asked(hub, "sampling/createMessage", WISH)
        assert answer["message"] == "the model nano could not be started"


async def test_the_folders_are_those_of_the_configuration(sdk_hub: ToolHub) -> None:
    async with hub_of(stub(behaviour=ASKING, roots=ROOTS)) as hub:
        assert [root["uri"] for root in (await asked(hub, "roots/list", {}))["roots"]] == list(ROOTS)
    assert (await sdk_hub.call("sdk_folders", {})).text == " ".join(ROOTS)

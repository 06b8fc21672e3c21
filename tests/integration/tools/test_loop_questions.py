"""Questions of a server over a pipe, which does not say which of the calls at work they belong to."""

from __future__ import annotations

import asyncio
import json

from modelhost.chat.tools.questions import Questions
from modelhost.exchange.events import HostEvent, Question
from modelhost.tools.callbacks import CallContext, ElicitationAnswer
from tests.support.mcp_peers import hub_of, stub

FORM = {"message": "Name?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}


async def test_two_calls_of_one_answer_may_both_ask_for_something() -> None:
    questions = Questions(20)
    asked: list[str] = []
    both = asyncio.Event()

    async def tell(event: HostEvent) -> None:
        assert isinstance(event, Question)
        asked.append(event.id)
        if len(asked) == 2:
            both.set()

    async with hub_of(stub(behaviour={"tools": ["elicitation/create"]})) as hub:
        (tool,) = hub.offered()
        contexts = [questions.in_context(CallContext(), call, tell) for call in ("one", "two")]
        calls = [asyncio.create_task(hub.call(tool.name, FORM, context)) for context in contexts]
        async with asyncio.timeout(60):
            await both.wait()
        for number, question in enumerate(asked):
            questions.answer_elicitation(question, ElicitationAnswer(action="accept", content={"name": str(number)}))
        answers = [json.loads((await call).text) for call in calls]
    assert sorted(answer["content"]["name"] for answer in answers) == ["0", "1"]

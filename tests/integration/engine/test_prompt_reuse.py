"""The turns of one conversation find what the engine has evaluated of it, whoever else talks meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.nano_engine import NEW_TOKENS, Engine, Messages, conversation, running

TURNS = 6
RESULT = "The weather is sunny and warm, with a little wind from the west. "
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Return the weather of a place. " * 10,
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


def _call(number: int) -> dict[str, Any]:
    arguments = json.dumps({"place": f"place {number}"})
    return {"id": f"call{number}", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


async def _new_tokens(engine: Engine, messages: Messages, **parameters: Any) -> int:
    usage = (await engine.answer(messages, **parameters))["usage"]
    new: int = usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
    return new


async def _loop(engine: Engine, name: str, others: asyncio.Condition) -> list[int]:
    """A tool loop of several turns; return how many tokens each turn had to evaluate."""
    messages = [*conversation(name), {"role": "user", "content": "How is the weather everywhere?"}]
    evaluated = []
    for number in range(TURNS):
        evaluated.append(await _new_tokens(engine, messages, tools=[TOOL]))
        messages.append({"role": "assistant", "content": None, "tool_calls": [_call(number)]})
        messages.append({"role": "tool", "tool_call_id": f"call{number}", "content": RESULT})
        await _next_of(others)  # the tool works; the model is free for others
    return evaluated


async def _session(engine: Engine, name: str, others: asyncio.Condition) -> list[int]:
    messages = conversation(name)
    evaluated = []
    for _ in range(TURNS):
        evaluated.append(await engine.talk(messages, "Hello!"))
        await _next_of(others)
    return evaluated


async def _next_of(others: asyncio.Condition) -> None:
    """Wait until one of the others has been answered."""
    async with others:
        await others.wait()


@pytest.mark.parametrize("slots", [1, 4])
async def test_the_turns_of_tool_loops_and_sessions_evaluate_what_is_new_alone(slots: int) -> None:
    async with running(slots=slots) as engine:
        others = asyncio.Condition()

        async def chatter(number: int) -> None:
            while True:
                await engine.talk(conversation(f"a stranger {number}"), "Hello!", "Who are you?")
                async with others:
                    others.notify_all()

        chatting = [asyncio.create_task(chatter(number)) for number in range(5)]
        try:
            loops = [_loop(engine, name, others) for name in ("ant", "bee", "cat")]
            sessions = [_session(engine, name, others) for name in ("dog", "elk", "fox")]
            evaluated = await asyncio.gather(*loops, *sessions)
        finally:
            for task in chatting:
                task.cancel()
            await asyncio.gather(*chatting, return_exceptions=True)
    for first, *others in evaluated:
        assert first > 3 * NEW_TOKENS
        assert max(others) <= 2 * NEW_TOKENS, evaluated  # a call and its result are a little longer than a question

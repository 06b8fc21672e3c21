"""OpenAI's Agents SDK with its default, the Responses API: text, tools, objects, streams, handoffs, conversations.

Run as ``python -P openai_agents.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import asyncio
import sys
import unittest
from enum import Enum
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel, Field

from agents import (
    Agent,
    ModelSettings,
    Runner,
    function_tool,
    handoff,
    set_default_openai_client,
    set_tracing_disabled,
)

URL, MODEL = sys.argv[1:]
SETTINGS = ModelSettings(temperature=0, max_tokens=200)
FORCED = ModelSettings(temperature=0, max_tokens=200, tool_choice="required")
set_tracing_disabled(True)


class Kind(Enum):
    """Stands in the schema as a definition that ``Place`` refers to."""

    CITY = "city"
    VILLAGE = "village"


class Place(BaseModel):
    """A place."""

    name: str = Field(max_length=12)
    kind: Kind


class Trip(BaseModel):
    """A plan that is short enough for a tiny model."""

    place: Place
    days: int = Field(ge=1, le=30)


CALLS: list[Kind] = []


@function_tool
def book(kind: Kind) -> str:
    """Books a trip to a place of this kind."""
    CALLS.append(kind)
    return f"booked a {kind.value}"


def agent(**fields: Any) -> Agent:
    return Agent(**{"name": "Guide", "instructions": "Be short.", "model": MODEL, "model_settings": SETTINGS, **fields})


class Runs(unittest.IsolatedAsyncioTestCase):
    """What the runner does with one agent or several."""

    def setUp(self) -> None:
        CALLS.clear()
        # A client belongs to the event loop of one test.
        client = AsyncOpenAI(base_url=URL, api_key="unused", max_retries=0, timeout=120)
        set_default_openai_client(client, use_for_tracing=False)

    async def test_text(self) -> None:
        result = await Runner.run(agent(), "Plan a trip to Paris.")
        assert result.final_output, result
        used = result.context_wrapper.usage
        assert used.input_tokens > 0
        assert used.total_tokens == used.input_tokens + used.output_tokens, used
        assert result.last_response_id
        assert result.last_response_id.startswith("resp_"), result.last_response_id

    async def test_a_stream(self) -> None:
        result = Runner.run_streamed(agent(), "Plan a trip to Paris.")
        deltas = ""
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                deltas += event.data.delta
        assert deltas == result.final_output, (deltas, result.final_output)

    async def test_an_object(self) -> None:
        result = await Runner.run(agent(output_type=Trip), "Plan a trip to Paris.")
        assert isinstance(result.final_output, Trip), result.final_output

    async def test_a_tool_runs_and_its_result_goes_back(self) -> None:
        result = await Runner.run(agent(tools=[book], model_settings=FORCED), "Plan a trip to Paris.")
        kinds = [item.type for item in result.new_items]
        assert kinds[:2] == ["tool_call_item", "tool_call_output_item"], kinds
        assert len(CALLS) == 1, CALLS
        assert result.final_output

    async def test_a_tool_whose_result_is_the_answer_in_a_stream(self) -> None:
        one = agent(tools=[book], model_settings=FORCED, tool_use_behavior="stop_on_first_tool")
        result = Runner.run_streamed(one, "Plan a trip to Paris.")
        kinds = [event.item.type async for event in result.stream_events() if event.type == "run_item_stream_event"]
        assert kinds == ["tool_call_item", "tool_call_output_item"], kinds
        assert str(result.final_output).startswith("booked a "), result.final_output

    async def test_a_handoff(self) -> None:
        other = agent(name="Other")
        first = agent(handoffs=[handoff(other)], model_settings=FORCED)
        result = await Runner.run(first, "Plan a trip to Paris.")
        assert result.last_agent is other, result.last_agent.name

    async def test_a_conversation_goes_on_by_its_last_response(self) -> None:
        first = await Runner.run(agent(), "Plan a trip to Paris.")
        second = await Runner.run(agent(), "And then?", previous_response_id=first.last_response_id)
        assert second.context_wrapper.usage.input_tokens > first.context_wrapper.usage.input_tokens
        again = await Runner.run(agent(), [*first.to_input_list(), {"role": "user", "content": "And then?"}])
        assert again.context_wrapper.usage.input_tokens == second.context_wrapper.usage.input_tokens

    async def test_several_runs_at_once(self) -> None:
        results = await asyncio.gather(*(Runner.run(agent(), f"Plan trip {number}.") for number in range(4)))
        assert len({result.last_response_id for result in results}) == 4


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

"""The times of an answer in several turns, which Ollama's clients are told."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from modelhost.chat.tools.loop import ToolLoop
from modelhost.chat.tools.turn_times import TurnTimes
from modelhost.exchange.events import EvalTimes, Text, Usage
from tests.support.loop_world import Chunk, Model, Tools, called, loop_of, request, said, takes, turn, used

pytestmark = pytest.mark.usefixtures("virtual_time")


def timed(prompt_ms: float, answer_ms: float) -> Chunk:
    return {**used(), "timings": {"prompt_ms": prompt_ms, "predicted_ms": answer_ms}}


async def times_of(loop: ToolLoop) -> EvalTimes | None:
    last: Any = None
    async with aclosing(loop.run(request())) as pieces:
        async for piece in pieces:
            last = piece[-1]
    assert isinstance(last, Usage)
    return last.times


async def test_times_are_those_of_all_turns_without_those_of_the_tools() -> None:
    model = Model(turn(called("now"), usage=timed(100, 200)), turn(said("It is 5."), usage=timed(10, 20)))
    assert await times_of(loop_of(model, Tools(now=takes(50)))) == EvalTimes(prompt_seconds=0.11, answer_seconds=0.22)


async def test_a_call_of_the_client_beside_one_of_the_host_leaves_the_times_as_they_are() -> None:
    both = [*called("now"), *called("mine", index=1)]
    model = Model(turn(both, usage=timed(100, 200)))
    loop = loop_of(model, Tools(now=takes(50)), client_tools=["mine"])
    assert await times_of(loop) == EvalTimes(prompt_seconds=0.1, answer_seconds=0.2)


def test_what_the_engine_does_not_tell_is_measured_from_the_first_text_on() -> None:
    times = TurnTimes()
    times.begin()
    times.note((Text(text="a"),))
    times.note((Usage(usage=None),))
    times.end()
    assert times.total.prompt_seconds > 0
    assert times.total.answer_seconds > 0

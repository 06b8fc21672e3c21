"""The tool loop when tool results exceed the context."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.errors import ContextLengthExceeded
from modelhost.tools.callbacks import CallContext
from modelhost.tools.outcome import ToolImage, ToolOutcome
from tests.support.loop_world import (
    Model,
    Tools,
    called,
    chunks_of,
    details,
    loop_of,
    ran,
    reasons,
    said,
    takes,
    text_of,
    told,
    turn,
    used,
)

pytestmark = pytest.mark.usefixtures("virtual_time")


def refused(tokens: int, context: int = 1000) -> ContextLengthExceeded:
    return ContextLengthExceeded("too long", prompt_tokens=tokens, context_length=context)


async def test_a_result_that_is_too_long_is_cut_until_the_model_takes_it() -> None:
    model = Model(turn(called("t"), usage=used(100)), [refused(10_102)], [refused(1001)], turn(said("Done.")))
    loop = loop_of(model, Tools(t=takes(0, "x" * 40_000)))
    chunks = await chunks_of(loop)
    assert text_of(chunks) == "Done."
    assert (reasons(chunks), details(chunks)) == (["stop"], None)
    whole, first, second = (body["messages"][-1]["content"] for body in model.bodies[1:])
    assert whole == "x" * 40_000
    # 40,000 characters are 10,000 tokens, and 102 of 1000 are taken; some are left for the answer.
    assert 2500 < first.count("x") < 4 * 898
    assert 1500 < second.count("x") < first.count("x")
    assert "[cut: the first" in second
    assert loop.transcript[1].content == second
    (result,) = told(chunks, "tool_result")
    assert result["text"] == whole


async def test_results_that_leave_no_room_end_the_loop_and_the_calls_are_told() -> None:
    model = Model(turn(called("t"), usage=used(990)), [refused(1100)])
    chunks = await ran(model, Tools(t=takes(0, "x" * 400)))
    assert (reasons(chunks), details(chunks)) == (["length"], "context_limit")
    assert [each["text"] for each in told(chunks, "tool_result")] == ["x" * 400]


async def test_a_model_that_never_says_that_it_fits_ends_the_loop() -> None:
    uncounted = ContextLengthExceeded("too long")
    model = Model(turn(called("t")), *([uncounted] for _ in range(20)))
    chunks = await ran(model, Tools(t=takes(0, "x" * 1_000_000)))
    assert details(chunks) == "context_limit"
    assert len(model.bodies) < 15


async def test_images_that_do_not_fit_become_the_words_about_them() -> None:
    async def picture(_: Any, __: CallContext) -> ToolOutcome:
        return ToolOutcome(name="t", text="a picture", images=(ToolImage(media_type="image/png", data="AAAA"),))

    model = Model(turn(called("t")), [refused(1100)], turn(said("Done.")))
    assert text_of(await ran(model, Tools(t=picture), sees_images=True)) == "Done."
    assert model.bodies[2]["messages"][-1]["content"] == "a picture"


async def test_a_first_prompt_that_is_too_long_is_an_error() -> None:
    with pytest.raises(ContextLengthExceeded):
        await ran(Model([refused(2000)]))

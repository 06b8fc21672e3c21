"""Questions on the stream of an answer: who is asked what, and what becomes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import pytest

from modelhost.chat.tools.questions import Questions
from modelhost.errors import InvalidAnswer, NotFound
from modelhost.exchange.events import HostEvent
from modelhost.tools.callbacks import ApprovalRequest, CallContext, ElicitationAnswer, ElicitationRequest
from tests.support.loop_world import Model, Tools, called, loop_of, said, streamed, text_of, told, turn

pytestmark = pytest.mark.usefixtures("virtual_time")

REQUEST = ApprovalRequest(
    kind="tool", server="s", name="s_rm", tool="rm", arguments={"path": "/x"}, annotations={"title": "Remove"}
)
FORM = ElicitationRequest(
    server="s",
    tool="rm",
    message="Name?",
    schema={
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "age": {"type": "integer", "default": 30},
            "mail": {"type": "string", "format": "email"},
            "size": {"enum": ["S", "M"]},
        },
        "required": ["name", "age"],
    },
)
ANNA = ElicitationAnswer(action="accept", content={"name": "Anna"})


async def asks_leave(_: Any, context: CallContext) -> str:
    assert context.approve is not None
    return {True: "yes", False: "no", None: "nobody"}[await context.approve(REQUEST)]


async def asks_name(_: Any, context: CallContext) -> str:
    assert context.elicit is not None
    answer = await context.elicit(FORM)
    return f"{answer.action} {dict(answer.content or {})}"


async def answered(
    tool: Callable[[Any, CallContext], Awaitable[str]],
    answer: Callable[[Questions, Mapping[str, Any]], object] | None,
    seconds: float = 60,
) -> tuple[str, Mapping[str, Any], Questions]:
    """What the tool was told, what was asked, and the questions afterwards."""
    questions = Questions(seconds)
    model = Model(turn(called("t")), turn(said("ok")))
    asked: Mapping[str, Any] = {}
    async with aclosing(streamed(loop_of(model, Tools(t=tool), questions=questions))) as chunks:
        async for chunk in chunks:
            if "modelhost.question" in chunk:
                asked = chunk["modelhost.question"]
                if answer is not None:
                    answer(questions, asked)
    return model.bodies[1]["messages"][-1]["content"], asked, questions


@pytest.mark.parametrize(("is_approved", "said_to_tool"), [(True, "yes"), (False, "no")])
async def test_call_waits_for_a_persons_leave(is_approved: bool, said_to_tool: str) -> None:
    def answer(questions: Questions, asked: Mapping[str, Any]) -> None:
        questions.answer_approval(asked["id"], is_approved=is_approved)

    found, asked, _ = await answered(asks_leave, answer)
    assert found == said_to_tool
    assert {
        key: asked[key] for key in ("kind", "call_id", "what", "server", "name", "tool", "arguments", "seconds")
    } == {
        "kind": "approval",
        "call_id": "call-t-0",
        "what": "tool",
        "server": "s",
        "name": "s_rm",
        "tool": "rm",
        "arguments": {"path": "/x"},
        "seconds": 60,
    }


@pytest.mark.parametrize(("tool", "otherwise"), [(asks_leave, "nobody"), (asks_name, "cancel {}")])
async def test_nobody_answering_in_time_is_told_from_a_no(tool: Any, otherwise: str) -> None:
    found, asked, questions = await answered(tool, None)
    assert found == otherwise
    with pytest.raises(NotFound, match="its time is over"):
        questions.answer_approval(asked["id"], is_approved=True)


async def test_server_is_told_what_the_person_says() -> None:
    found, asked, _ = await answered(
        asks_name, lambda questions, asked: questions.answer_elicitation(asked["id"], ANNA)
    )
    assert found == "accept {'name': 'Anna'}"
    assert (asked["kind"], asked["message"], asked["schema"]) == ("elicitation", "Name?", FORM.schema)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "'name' is a required property"),
        ({}, "'name' is a required property"),
        ({"name": None}, "'name' is a required property"),
        ({"name": 7}, "\"name\": 7 is not of type 'string'"),
        ({"name": "A"}, "\"name\": 'A' is too short"),
        ({"name": "Anna", "age": "old"}, "\"age\": 'old' is not of type 'integer'"),
        ({"name": "Anna", "mail": "nowhere"}, "\"mail\": 'nowhere' is not a 'email'"),
        ({"name": "Anna", "size": "XL"}, "\"size\": 'XL' is not one of ['S', 'M']"),
    ],
)
async def test_an_answer_that_does_not_fit_the_form_is_refused_and_may_be_mended(content: Any, problem: str) -> None:
    def answer(questions: Questions, asked: Mapping[str, Any]) -> None:
        with pytest.raises(InvalidAnswer) as refused:
            questions.answer_elicitation(asked["id"], ElicitationAnswer(action="accept", content=content))
        assert refused.value.details["problems"] == [problem]
        assert problem in refused.value.message
        questions.answer_elicitation(asked["id"], ANNA)

    found, _, _ = await answered(asks_name, answer)
    assert found == "accept {'name': 'Anna'}"


async def test_a_form_that_is_declined_need_not_be_filled_in() -> None:
    declined = ElicitationAnswer(action="decline", content={"name": 7})
    found, _, _ = await answered(
        asks_name, lambda questions, asked: questions.answer_elicitation(asked["id"], declined)
    )
    assert found.startswith("decline")


async def test_an_address_to_open_has_no_form() -> None:
    async def asks_to_open(_: Any, context: CallContext) -> str:
        assert context.elicit is not None
        answer = await context.elicit(
            ElicitationRequest(server="s", tool="rm", message="Log in", mode="url", url="https://example.com")
        )
        return answer.action

    opened = ElicitationAnswer(action="accept")
    found, _, _ = await answered(
        asks_to_open, lambda questions, asked: questions.answer_elicitation(asked["id"], opened)
    )
    assert found == "accept"


async def test_question_is_answered_once_and_in_its_own_way() -> None:
    def answer(questions: Questions, asked: Mapping[str, Any]) -> None:
        with pytest.raises(NotFound):
            questions.answer_elicitation(asked["id"], ANNA)
        questions.answer_approval(asked["id"], is_approved=True)
        with pytest.raises(NotFound):
            questions.answer_approval(asked["id"], is_approved=False)

    found, _, _ = await answered(asks_leave, answer)
    assert found == "yes"


async def test_question_of_a_client_that_left_is_forgotten() -> None:
    questions = Questions()
    model = Model(turn(called("t")))
    async with aclosing(streamed(loop_of(model, Tools(t=asks_leave), questions=questions))) as chunks:
        async for chunk in chunks:
            if asked := chunk.get("modelhost.question"):
                break
    with pytest.raises(NotFound):
        questions.answer_approval(asked["id"], is_approved=True)


async def test_two_calls_of_one_answer_may_ask_at_the_same_time() -> None:
    questions = Questions()
    model = Model(turn(called("t"), called("u", index=1)), turn(said("ok")))
    loop = loop_of(model, Tools(t=asks_leave, u=asks_leave), questions=questions)
    open_ids: list[str] = []
    async with aclosing(streamed(loop)) as chunks:
        seen = []
        async for chunk in chunks:
            seen.append(chunk)
            if asked := chunk.get("modelhost.question"):
                open_ids.append(asked["id"])
                if len(open_ids) == 2:
                    questions.answer_approval(open_ids[1], is_approved=True)
                    questions.answer_approval(open_ids[0], is_approved=False)
    assert [message["content"] for message in model.bodies[1]["messages"][-2:]] == ["no", "yes"]
    assert text_of(seen) == "ok"
    assert {result["text"] for result in told(seen, "tool_result")} == {"yes", "no"}


def test_all_calls_of_an_answer_ask_the_same_person_and_those_of_another_do_not() -> None:
    async def tell(_: HostEvent) -> None:
        raise AssertionError

    async def tell_another(_: HostEvent) -> None:
        raise AssertionError

    questions = Questions()
    one = questions.in_context(CallContext(), "one", tell)
    two = questions.in_context(CallContext(), "two", tell)
    stranger = questions.in_context(CallContext(), "one", tell_another)
    assert {one.elicit, two.elicit} == {one.elicit}
    assert {one.approve, two.approve} == {one.approve}
    assert len({one.elicit, stranger.elicit, one.approve}) == 3


async def test_without_anybody_to_ask_the_context_has_no_way_to() -> None:
    contexts: list[CallContext] = []

    async def tool(_: Any, context: CallContext) -> str:
        contexts.append(context)
        return "ok"

    async with asyncio.timeout(5):
        model = Model(turn(called("t")), turn(said("ok")))
        async with aclosing(streamed(loop_of(model, Tools(t=tool)))) as chunks:
            async for _ in chunks:
                pass
    assert (contexts[0].approve, contexts[0].elicit) == (None, None)

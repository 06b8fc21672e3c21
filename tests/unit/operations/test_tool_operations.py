"""The operations on MCP servers and their tools, against servers in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelhost.errors import (
    InvalidRequest,
    McpServerNotFound,
    NotFound,
    ToolNotFound,
    ToolServerUnavailable,
    UnsupportedParameter,
)
from modelhost.exchange.events import HostEvent, Question
from modelhost.operations.mcp_resources import GET_PROMPT, LIST_PROMPTS, LIST_RESOURCES, READ_RESOURCE
from modelhost.operations.operation import AnyOperation
from modelhost.operations.table import MODEL_OPERATIONS, TOOL_OPERATIONS
from modelhost.operations.tools import (
    ANSWER,
    APPROVE,
    CALL,
    DISABLE,
    ENABLE,
    LIST_SERVERS,
    LIST_TOOLS,
    RESTART,
    CallResult,
)
from modelhost.tools.callbacks import NO_CONTEXT, ApprovalRequest, ElicitationRequest
from modelhost.tools.outcome import ToolOutcome
from modelhost.tools.status import ServerState
from tests.unit.operations.fake_tools import FakeToolHost, server_status


async def run(host: FakeToolHost, operation: AnyOperation, **values: Any) -> Any:
    return await operation.run(host, operation.parse(values))


@pytest.mark.parametrize("operation", TOOL_OPERATIONS, ids=lambda operation: operation.name)
def test_the_examples_of_an_operation_are_what_it_takes_and_gives(operation: AnyOperation) -> None:
    assert operation.parse(operation.example)
    assert operation.result.model_validate(operation.example_answer).model_dump(mode="json") == operation.example_answer


def test_no_two_operations_share_a_name_or_a_place() -> None:
    every = (*MODEL_OPERATIONS, *TOOL_OPERATIONS)
    assert len({operation.name for operation in every}) == len(every)
    places = [operation.route for operation in every if operation.route]
    assert len(set(places)) == len(places)
    assert {operation.area for operation in TOOL_OPERATIONS} == {"tools"}


def test_reports_leave_nothing_out_of_what_is_known() -> None:
    # Images and sounds are among the content blocks.
    assert set(ToolOutcome.__struct_fields__) - {"images", "sounds"} == set(CallResult.model_fields)


async def test_tools_are_openais_objects_with_what_the_host_knows_besides() -> None:
    listed = await run(FakeToolHost(), LIST_TOOLS)
    assert listed.object == "list"
    card = listed.data[0].model_dump()
    assert (card["type"], card["function"]["name"], card["function"]["parameters"]["type"]) == (
        "function",
        "one_echo",
        "object",
    )
    assert (card["server"], card["tool"], card["approval"]) == ("one", "echo", "read_only")
    assert card["annotations"] == {"readOnlyHint": True}


async def test_tools_are_listed_of_one_server() -> None:
    host = FakeToolHost()
    assert len((await run(host, LIST_TOOLS, server="one")).data) == 2
    assert (await run(host, LIST_TOOLS, server="two")).data == []
    with pytest.raises(McpServerNotFound):
        await run(host, LIST_TOOLS, server="three")


async def test_servers_are_listed_with_the_file_and_what_is_wrong_with_it() -> None:
    host = FakeToolHost()
    host.toolbox.file_error = "mcp.json: line 3"
    listed = await run(host, LIST_SERVERS)
    assert [(server.name, server.state) for server in listed.data] == [("one", "ready"), ("two", "failed")]
    assert (listed.config, listed.config_error) == ("/srv/mcp.json", "mcp.json: line 3")
    host.toolbox.path = None
    assert (await run(host, LIST_SERVERS)).config is None


async def test_a_server_is_restarted_disabled_and_enabled() -> None:
    host = FakeToolHost()
    assert (await run(host, RESTART, name="two")).state is ServerState.CONNECTING
    assert (await run(host, DISABLE, name="one")).state is ServerState.DISABLED
    assert (await run(host, ENABLE, name="one")).state is ServerState.CONNECTING
    with pytest.raises(McpServerNotFound):
        await run(host, DISABLE, name="three")


async def test_a_server_that_cannot_be_used_says_why_when_it_is_enabled() -> None:
    host = FakeToolHost()
    host.toolbox.hub.servers["bad"] = server_status("bad", ServerState.DISABLED, why_disabled="NOPE is not set")
    with pytest.raises(ToolServerUnavailable, match="NOPE is not set"):
        await run(host, ENABLE, name="bad")


async def test_a_call_gives_its_outcome_a_failed_one_too() -> None:
    host = FakeToolHost()
    done = await run(host, CALL, name="one_echo", arguments={"text": "hi"})
    assert (done.text, done.is_error, done.server, done.tool, done.seconds) == ("done", False, "one", "echo", 0.5)
    assert done.content == [{"type": "text", "text": "done"}]
    assert host.toolbox.hub.called[0][:2] == ("one_echo", {"text": "hi"})
    host.toolbox.hub.outcome = {"text": "it broke", "is_error": True, "code": "tool_failed"}
    failed = await run(host, CALL, name="one_echo")
    assert (failed.is_error, failed.code, failed.text) == (True, "tool_failed", "it broke")


async def test_a_call_of_a_tool_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ToolNotFound):
        await run(FakeToolHost(), CALL, name="one_ecko")


async def test_whoever_asks_for_a_call_has_agreed_to_it_but_not_to_what_the_server_wants_besides() -> None:
    host = FakeToolHost()
    await run(host, CALL, name="one_add/up")
    context = host.toolbox.hub.called[0][2]
    assert context.approve is not None
    assert context.elicit is None
    about: dict[str, Any] = {"server": "one", "name": "one", "tool": None, "arguments": {}, "annotations": {}}
    assert await context.approve(ApprovalRequest(kind="tool", **about))
    assert not await context.approve(ApprovalRequest(kind="sampling", **about))


async def test_resources_and_prompts_come_from_all_servers_that_are_ready() -> None:
    host = FakeToolHost()
    host.toolbox.hub.servers["three"] = server_status("three")
    host.toolbox.hub.silent.add("three")
    resources = await run(host, LIST_RESOURCES)
    assert ([card.uri for card in resources.data], resources.errors) == (["one://all"], {"three": "three is silent"})
    prompts = await run(host, LIST_PROMPTS)
    assert [argument.name for argument in prompts.data[0].arguments] == ["city"]
    assert prompts.errors == {"three": "three is silent"}


async def test_one_server_that_is_named_answers_itself_or_fails() -> None:
    host = FakeToolHost()
    host.toolbox.hub.silent.add("two")
    assert (await run(host, LIST_RESOURCES, server="one")).errors == {}
    with pytest.raises(ToolServerUnavailable):
        await run(host, LIST_PROMPTS, server="two")


async def test_a_resource_is_read_and_a_prompt_filled_in() -> None:
    host = FakeToolHost()
    read = await run(host, READ_RESOURCE, server="one", uri="one://all")
    assert [(content.uri, content.text, content.blob) for content in read.contents] == [
        ("one://all", "all of it", None)
    ]
    filled = await run(host, GET_PROMPT, server="one", name="pack", arguments={"city": "Paris"})
    assert filled.messages == [{"role": "user", "content": "pack Paris"}]


async def asked_approval(host: FakeToolHost) -> tuple[asyncio.Task[bool], str]:
    """A question that waits for its answer, and its id."""
    told: asyncio.Queue[HostEvent] = asyncio.Queue()

    async def tell(event: HostEvent) -> None:
        told.put_nowait(event)

    approve = host.questions.in_context(NO_CONTEXT, "call-1", tell).approve
    assert approve is not None
    request = ApprovalRequest(kind="tool", server="one", name="one_echo", tool="echo", arguments={}, annotations={})
    asking = asyncio.ensure_future(approve(request))
    question = await told.get()
    assert isinstance(question, Question)
    return asking, question.id


@pytest.mark.parametrize("is_approved", [True, False])
async def test_an_approval_is_answered_once(is_approved: bool) -> None:
    host = FakeToolHost()
    asking, question = await asked_approval(host)
    assert (await run(host, APPROVE, id=question, approve=is_approved)).success
    assert await asking is is_approved
    with pytest.raises(NotFound):
        await run(host, APPROVE, id=question, approve=True)


async def test_an_elicitation_is_answered_with_the_values_of_its_form() -> None:
    host = FakeToolHost()
    told: asyncio.Queue[HostEvent] = asyncio.Queue()

    async def tell(event: HostEvent) -> None:
        told.put_nowait(event)

    elicit = host.questions.in_context(NO_CONTEXT, "call-1", tell).elicit
    assert elicit is not None
    asking = asyncio.ensure_future(elicit(ElicitationRequest(server="one", tool="echo", message="Where?")))
    question = await told.get()
    assert isinstance(question, Question)
    content = {"city": "Paris", "days": 3, "is_sure": True, "with": ["a", "b"]}
    await run(host, ANSWER, id=question.id, action="accept", content=content)
    answer = await asking
    assert (answer.action, answer.content) == ("accept", content)
    assert answer.content is not None
    assert answer.content["is_sure"] is True


def test_parameters_are_strict() -> None:
    with pytest.raises(InvalidRequest):
        APPROVE.parse({"id": "x", "approve": "yes"})
    with pytest.raises(InvalidRequest):
        ANSWER.parse({"id": "x", "action": "perhaps"})
    with pytest.raises(UnsupportedParameter, match="arguments"):
        CALL.parse({"name": "x", "argumnets": {}})

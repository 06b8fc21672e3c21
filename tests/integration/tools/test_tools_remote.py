"""Servers at an address: streamable HTTP of both eras, and server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from modelhost.errors import McpServerNotFound, ToolCallFailed, ToolServerUnavailable
from modelhost.tools.callbacks import CallContext, ElicitationAnswer, ElicitationRequest, ToolProgress
from modelhost.tools.entry import ServerEntry
from modelhost.tools.hub import ToolHub
from modelhost.tools.status import ServerState
from tests.support.eventually import eventually_async
from tests.support.mcp_peers import free_port, hub_of, remote, sdk_http


@pytest.fixture(scope="module")
def http_url() -> Iterator[str]:
    with sdk_http("streamable-http", free_port()) as url:
        yield url


@pytest.fixture(scope="module")
def sse_url() -> Iterator[str]:
    with sdk_http("sse", free_port()) as url:
        yield url


@pytest.fixture(params=["http", "legacy http", "sse"])
def entry(request: pytest.FixtureRequest) -> ServerEntry:
    url = request.getfixturevalue("sse_url" if request.param == "sse" else "http_url")
    return remote(url, protocol="legacy" if request.param == "legacy http" else "auto")


@pytest.fixture
async def hub(entry: ServerEntry) -> AsyncIterator[ToolHub]:
    async with hub_of(entry) as found:
        yield found


async def test_calls_with_progress_and_large_results(hub: ToolHub, entry: ServerEntry) -> None:
    steps: list[ToolProgress] = []

    async def on_progress(step: ToolProgress) -> None:
        steps.append(step)

    assert (await hub.call("sdk_echo", {"text": "a"})).text == "a"
    assert not (await hub.call("sdk_work", {}, CallContext(on_progress=on_progress))).is_error
    assert [step.message for step in steps] == ["half"]
    is_sse = hub.status("sdk").transport == "sse"
    count = (
        400_000 if is_sse else 5_000_000
    )  # the SDK's client for the older transport stops at 1 MiB, structured content and all
    assert len((await hub.call("sdk_big", {"count": count})).content[0]["text"]) == count
    if entry.protocol == "legacy":
        assert hub.status("sdk").protocol_version == "2025-11-25"


async def test_a_question_goes_to_the_person_of_its_call_though_others_call_too(hub: ToolHub) -> None:
    async def call(name: str) -> str:
        async def elicit(_: ElicitationRequest) -> ElicitationAnswer:
            async with asyncio.timeout(60):
                await all_are_asked.wait()
            return ElicitationAnswer(action="accept", content={"name": name})

        return (await hub.call("sdk_hello", {}, CallContext(elicit=elicit))).text

    # The older transport has one stream for everybody: there only one call at a time can be asked about.
    people = ["Anna"] if hub.status("sdk").transport == "sse" else ["Anna", "Ben", "Cleo"]
    all_are_asked = asyncio.Barrier(len(people))
    assert await asyncio.gather(*(call(name) for name in people)) == [f"accept: {name}" for name in people]


async def test_resources_and_prompts(hub: ToolHub) -> None:
    found = await hub.reading.resources("sdk")
    assert [(each.uri, each.is_template) for each in found] == [
        ("memo://one", False),
        ("memo://numbers/{number}", True),
    ]
    (content,) = await hub.reading.resource("sdk", "memo://one")
    assert content.text == "a memo"
    (prompt,) = await hub.reading.prompts("sdk")
    assert [(argument.name, argument.is_required) for argument in prompt.arguments] == [("name", True)]
    filled = await hub.reading.prompt("sdk", "greet", {"name": "Anna"})
    assert filled.messages == ({"role": "user", "content": "Greet Anna."},)
    with pytest.raises(ToolCallFailed, match="sdk"):
        await hub.reading.resource("sdk", "memo://none/at/all")
    with pytest.raises(McpServerNotFound):
        await hub.reading.prompts("other")


async def test_calls_wait_for_a_server_that_comes_back_and_get_a_new_session() -> None:
    port = free_port()
    with ExitStack() as later:
        with sdk_http("streamable-http", port) as url:
            hub = ToolHub([remote(url, "modern"), remote(url, "older", protocol="legacy")])
            await hub.start()
            assert await hub.settled(10)
            assert (await hub.call("older_echo", {"text": "a"})).text == "a"
        try:
            # The modern one finds nobody there; the older one later finds one that knows nothing of its session.
            waiting = asyncio.create_task(hub.call("modern_echo", {"text": "b"}))
            await eventually_async(lambda: hub.status("modern").state is ServerState.RESTARTING)
            await asyncio.to_thread(later.enter_context, sdk_http("streamable-http", port))
            for outcome in (await waiting, await hub.call("older_echo", {"text": "b"})):
                assert outcome.text == "b"
            assert hub.status("older").last_error == "its session has expired (HTTP 404)"
        finally:
            await hub.stop()


async def test_an_address_where_nobody_listens_is_tried_again_and_said() -> None:
    async with hub_of(remote(f"http://127.0.0.1:{free_port()}/mcp", timeout_seconds=1)) as hub:
        assert hub.status("sdk").state is ServerState.RESTARTING
        assert "cannot be reached" in (hub.status("sdk").last_error or "")
        assert hub.offered() == ()
        with pytest.raises(ToolServerUnavailable):
            await hub.reading.resources("sdk")


async def test_an_address_that_is_no_mcp_server_says_what_it_answered(http_url: str) -> None:
    async with hub_of(remote(http_url.replace("/mcp", "/else"))) as hub:
        assert hub.status("sdk").last_error == "answered HTTP 404 Not Found"

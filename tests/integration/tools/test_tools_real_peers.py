"""The servers that people use, from PyPI and npm, over their real pipes."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelhost.tools.callbacks import CallContext, SamplingAnswer, SamplingRequest, ToolProgress
from modelhost.tools.entry import SamplingPolicy
from modelhost.tools.hub import ToolHub
from modelhost.tools.status import ServerState
from tests.support.mcp_peers import hub_of, node_entry, python_entry


class Echo:
    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        return SamplingAnswer(text=f"sampled {request.max_tokens}", model="nano")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file, that is a git repository."""
    folder = tmp_path_factory.mktemp("peers")
    (folder / "hello.txt").write_text("Hello, file.", "utf-8")
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
async def hub(folder: Path) -> AsyncIterator[ToolHub]:
    """All of them side by side."""
    async with hub_of(
        node_entry("server-everything", sampling=SamplingPolicy(mode="auto", max_tokens=30), roots=(folder.as_uri(),)),
        node_entry("server-filesystem", [str(folder)]),
        node_entry("server-memory"),
        python_entry("mcp-server-time"),
        python_entry("mcp-server-git", ["--repository", str(folder)]),
        seconds=40,
        sampler=Echo(),
    ) as found:
        assert {status.name: status.last_error for status in found.statuses() if status.state != "ready"} == {}
        yield found


@pytest.mark.promise("mistralrs.api.mcp", "mistralrs.mcp.process")
async def test_all_of_them_are_connected_in_their_era(hub: ToolHub) -> None:
    versions = {status.name: status.protocol_version for status in hub.statuses()}
    assert versions == {
        "everything": "2025-11-25",
        "filesystem": "2025-11-25",
        "memory": "2025-11-25",
        "time": "2026-07-28",
        "git": "2026-07-28",
    }
    assert all(status.tools for status in hub.statuses())


@pytest.mark.promise("mistralrs.mcp.servers")
async def test_the_time(hub: ToolHub) -> None:
    outcome = await hub.call("time_get_current_time", '{"timezone": "UTC"}')
    assert json.loads(outcome.text)["timezone"] == "UTC"
    assert (await hub.call("time_get_current_time", {})).code == "invalid_arguments"
    assert (await hub.call("time_get_current_time", {"timezone": "Nowhere/City"})).code == "tool_failed"


async def test_a_repository(hub: ToolHub, folder: Path) -> None:
    outcome = await hub.call("git_git_status", {"repo_path": str(folder)})
    assert "hello.txt" in outcome.text


@pytest.mark.promise("mistralrs.mcp.servers")
async def test_a_file(hub: ToolHub, folder: Path) -> None:
    outcome = await hub.call("filesystem_read_text_file", {"path": str(folder / "hello.txt")})
    assert outcome.text == "Hello, file."
    refused = await hub.call("filesystem_read_text_file", {"path": "/etc/hostname"})
    assert (refused.is_error, refused.code) == (True, "tool_failed")


@pytest.mark.promise("mistralrs.mcp.servers")
async def test_a_memory(hub: ToolHub) -> None:
    outcome = await hub.call("memory_search_nodes", {"query": "nothing"})
    assert not outcome.is_error


async def test_everything(hub: ToolHub) -> None:
    assert "hi" in (await hub.call("everything_echo", {"message": "hi"})).text
    assert (await hub.call("everything_get-tiny-image", {})).images[0].media_type == "image/png"
    structured = await hub.call("everything_get-structured-content", {"location": "New York"})
    assert structured.structured is not None
    links = await hub.call("everything_get-resource-links", {"count": 2})
    assert "[resource " in links.text


async def test_everything_reports_progress(hub: ToolHub) -> None:
    steps: list[ToolProgress] = []

    async def on_progress(step: ToolProgress) -> None:
        steps.append(step)

    outcome = await hub.call(
        "everything_trigger-long-running-operation", {"duration": 0.2, "steps": 2}, CallContext(on_progress=on_progress)
    )
    assert not outcome.is_error
    assert [step.progress for step in steps] == [1, 2]


async def test_everything_has_a_model_write(hub: ToolHub) -> None:
    names = [tool.name for tool in hub.offered() if "sampling" in tool.name]
    assert "everything_trigger-sampling-request" in names
    outcome = await hub.call("everything_trigger-sampling-request", {"prompt": "Write.", "maxTokens": 100})
    assert "sampled 30" in outcome.text


async def test_resources_and_prompts_of_everything(hub: ToolHub) -> None:
    resources = await hub.reading.resources("everything")
    first = next(resource for resource in resources if not resource.is_template)
    assert (await hub.reading.resource("everything", first.uri))[0].text
    assert "simple-prompt" in [prompt.name for prompt in await hub.reading.prompts("everything")]
    prompt = await hub.reading.prompt("everything", "simple-prompt", {})
    assert prompt.messages[0]["role"] == "user"


async def test_all_at_the_same_time(hub: ToolHub) -> None:
    outcomes = await asyncio.gather(
        *(hub.call("everything_echo", {"message": str(number)}) for number in range(20)),
        *(hub.call("time_get_current_time", {"timezone": "UTC"}) for _ in range(20)),
    )
    assert not any(outcome.is_error for outcome in outcomes)
    assert {status.state for status in hub.statuses()} == {ServerState.READY}

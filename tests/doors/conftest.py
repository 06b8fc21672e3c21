"""The hosts behind the doors: each is started once in a test process, and crashed as often as there are doors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import modelhost
from modelhost.models.residency import record
from tests.doors.door import Door
from tests.doors.doors import Case
from tests.doors.world import PLACES, SLOTS, TOOLS, World
from tests.support.tool_hosts import config, stub_server

SCRIPT = [
    {"match": "think first", "reasoning": "Let me see.", "reply": "Four."},
    {
        "match": "both cities",
        "reply": "Rain in both.",
        "tool_calls": [{"name": "weather", "arguments": {"city": city}} for city in ("Paris", "Rome")],
    },
]


@pytest.fixture(autouse=True)
def _quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is crashed for a test is started again at once, however many were crashed before."""
    monkeypatch.setattr(record, "HEALTHY_SECONDS", 0.0)


@pytest.fixture(scope="session")
def _settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = tmp_path_factory.mktemp("doors") / "script.json"
    script.write_text(json.dumps(SCRIPT), "utf-8")
    return {
        "engine": "scripted",
        "alias": ["scripted", "also-scripted"],
        "engine_options": {"script": str(script)},
        "threads": 1,
        "max_in_flight": SLOTS,
        "queue_size": PLACES,
    }


@pytest.fixture(scope="session")
def _tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    server = {**stub_server(tools=["echo", "sleep", "big"]), "tool_approval": {"big": "ask"}}
    return {"mcp_config": config(tmp_path_factory.mktemp("tools"), **{TOOLS: server})}


def _data(factory: pytest.TempPathFactory) -> str:
    folder: Path = factory.mktemp("data")
    return str(folder)


@pytest.fixture(scope="session")
async def plain_world(_settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A host without tools, which listens too."""
    async with modelhost.Host(**_settings, data_dir=_data(tmp_path_factory)) as host, World(host) as world:
        await world.listen()
        yield world


@pytest.fixture(scope="session")
async def world_with_tools(
    _settings: dict[str, Any], _tools: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A host with tools."""
    async with (
        modelhost.Host(**_settings, **_tools, data_dir=_data(tmp_path_factory)) as host,
        World(host) as world,
    ):
        yield world


@pytest.fixture(scope="session")
async def world_without_calls(
    _settings: dict[str, Any], _tools: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A host with tools, and a model that cannot have any."""
    settings = {**_settings, "engine_options": {**_settings["engine_options"], "calls_tools": False}}
    async with (
        modelhost.Host(**settings, **_tools, data_dir=_data(tmp_path_factory)) as host,
        World(host) as world,
    ):
        yield world


@pytest.fixture(scope="session")
async def llm_world(
    _settings: dict[str, Any], _tools: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A ``modelhost.LLM``; it has tools."""
    with modelhost.LLM(**_settings, **_tools, data_dir=_data(tmp_path_factory)) as llm:
        async with World(llm.host, llm=llm) as world:
            yield world


@pytest.fixture
def door(request: pytest.FixtureRequest) -> Door:
    """The door of the case: see :func:`tests.doors.doors.over`."""
    case: Case = request.param
    of_host = "world_with_tools" if case.has_tools else "plain_world"
    of_host = of_host if case.calls_tools else "world_without_calls"
    world: World = request.getfixturevalue("llm_world" if case.kind.needs_llm else of_host)
    return case.kind(world, over_socket=case.over_socket)


@pytest.fixture(autouse=True)
async def _left_idle(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """No test leaves work behind."""
    yield
    found = request.node.funcargs.get("door")
    if isinstance(found, Door):
        await found.world.idle()

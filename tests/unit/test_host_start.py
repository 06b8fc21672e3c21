"""A start that fails, or is given up, leaves nothing behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelhost.host import Host
from modelhost.tools.toolbox import Toolbox


class Loaded:
    """A collection whose model is loaded at once."""

    def __init__(self) -> None:
        self.stops: list[float] = []

    async def start(self, *_: Any, **__: Any) -> Loaded:
        return self

    async def stop(self, drain_seconds: float) -> None:
        self.stops.append(drain_seconds)


class Tools:
    """Tools whose servers are never ready."""

    def __init__(self) -> None:
        self.stops = 0
        self.asked = asyncio.Event()

    async def start(self, *_: Any, **__: Any) -> Tools:
        return self

    async def settled(self) -> None:
        self.asked.set()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self.stops += 1


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    collection = Loaded()
    monkeypatch.setattr("modelhost.models.residency.collection.ModelCollection.start", collection.start)
    return collection


async def test_a_model_that_was_loaded_is_ended_if_the_rest_of_the_start_fails(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(Toolbox, "start", fail)
    host = Host(engine="scripted")
    with pytest.raises(OSError, match="no memory"):
        await host.start()
    assert loaded.stops == [0]


async def test_servers_of_tools_that_are_waited_for_are_ended_with_the_start(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Tools()
    monkeypatch.setattr(Toolbox, "start", tools.start)
    host = Host(engine="scripted", mcp_config="mcp.json", wait_for_tools=True)
    starting = asyncio.ensure_future(host.start())
    await tools.asked.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert tools.stops == 1
    assert loaded.stops == []  # it was not begun: the tools come first


async def test_a_host_starts_again_with_tools_of_its_own(loaded: Loaded) -> None:
    host = Host(engine="scripted")
    await host.start()
    first = host.toolbox
    await host.stop()
    await host.start()
    assert host.toolbox is not first
    await host.stop()
    assert len(loaded.stops) == 2

"""Models that clients add while the host runs: one download for all who ask, and nothing left of what failed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelhost.config.settings import Settings
from modelhost.errors import DownloadFailed, InvalidRequest, ModelhostError, ModelNotAllowed, ShuttingDown
from modelhost.models.hub.progress import DownloadProgress, FileProgress
from modelhost.models.registry.admission import Admission
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.registry import parse_registry
from modelhost.models.residency.added import AddedModels
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.residency.status import State
from modelhost.models.resolve.resolved import Resolved
from tests.support.fake_workers import FakeFiles, FakeStarts, end, fake_scheduler, lease_once, turns

HUB_MODEL = "org/name:Q8_0"


def step(done: int) -> FileProgress:
    return FileProgress(file="a.gguf", done_bytes=done, total_bytes=100, part=1, parts=1)


class FakeHub:
    """Every model of it takes ten seconds and tells three steps."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.pulled: list[tuple[str, str | None]] = []
        self.cancelled = 0
        self.error: ModelhostError | None = None

    async def find(self, entry: ModelEntry, on_progress: DownloadProgress) -> Resolved:
        self.found.append(str(entry.settings.model))
        await self._download(on_progress)
        return FakeFiles().resolved(entry)

    async def pull(
        self, reference: str, _settings: Settings, *, revision: str | None, on_progress: DownloadProgress
    ) -> Path:
        self.pulled.append((reference, revision))
        await self._download(on_progress)
        return Path("/hub/a.gguf")

    async def _download(self, on_progress: DownloadProgress) -> None:
        try:
            for done in (0, 50, 100):
                on_progress(step(done))
                await asyncio.sleep(5)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error


class World:
    """A host with the models of a registry, and a hub."""

    def __init__(self, *entries: dict[str, Any], **settings: Any) -> None:
        self.hub = FakeHub()
        self.starts = FakeStarts()
        base = Settings.model_validate(settings)
        self.scheduler: Scheduler = fake_scheduler(self.starts)
        self.collection = ModelCollection(base, self.scheduler, {})
        self.added = AddedModels(self.scheduler, base, find=self.hub.find, pull=self.hub.pull)
        self.collection.added = self.collection.registry.added = self.added
        self.told: list[float] = []
        self.registry(*entries)

    def registry(self, *entries: dict[str, Any]) -> None:
        models = entries or ({"name": "ant", "hf_id": "org/ant"},)
        content = yaml.safe_dump({"models": list(models)}).encode()
        self.collection.registry.apply(parse_registry(content, Path("models.yaml"), Settings()))

    async def find_or_add(self, name: str) -> str:
        return (await self.collection.find_or_add(name, on_progress=self.tell)).name

    def tell(self, progress: FileProgress) -> None:
        self.told.append(progress.fraction)

    def names(self) -> list[str]:
        return sorted(self.scheduler.models)

    async def end(self) -> None:
        await self.added.stop()
        await end(self.scheduler, self.starts)


@pytest.mark.usefixtures("virtual_time")
async def test_a_model_of_the_hub_is_one_of_the_host_once_its_files_are_here() -> None:
    world = World()
    adding = asyncio.create_task(world.find_or_add("https://huggingface.co/org/name"))
    await turns()
    assert world.names() == ["ant"]
    assert await adding == "org/name"
    assert world.told == [0, 0.5, 1]
    assert world.names() == ["ant", "org/name"]
    assert world.scheduler.status(world.collection.find("org/name")).state is State.UNLOADED
    await lease_once(world.scheduler, world.collection.find("org/name"))
    assert world.collection.select("org/name").status == "ready"
    await world.scheduler.unload(world.collection.find("org/name"))
    assert await world.find_or_add("org/name") == await world.find_or_add("hf://org/name@main") == "org/name"
    assert world.hub.found == ["hf://org/name"]
    await world.end()


@pytest.mark.usefixtures("virtual_time")
async def test_the_model_of_an_entry_is_that_entry_whatever_it_is_called() -> None:
    world = World({"name": "ant", "hf_id": "org/ant:Q8_0"}, allow_models="registry")
    assert await world.find_or_add("hf://org/ant:Q8_0") == await world.find_or_add("ant") == "ant"
    for other in ("org/ant", "org/bee", "./ant.gguf"):
        with pytest.raises(ModelNotAllowed):
            await world.find_or_add(other)
    assert world.hub.found == []
    assert world.names() == ["ant"]
    await world.end()


@pytest.mark.usefixtures("virtual_time")
async def test_who_asks_for_a_model_that_is_on_its_way_joins_its_download() -> None:
    world = World()
    first = asyncio.create_task(world.find_or_add(HUB_MODEL))
    await asyncio.sleep(6)
    second = asyncio.create_task(world.find_or_add(f"hf://{HUB_MODEL}"))
    assert [await first, await second] == [HUB_MODEL, HUB_MODEL]
    assert world.told == [0, 0.5, 0.5, 1, 1]  # the second came when half was here
    assert world.hub.found == [f"hf://{HUB_MODEL}"]
    await world.end()


@pytest.mark.usefixtures("virtual_time")
async def test_a_download_goes_on_for_those_who_still_wait_and_ends_with_the_last() -> None:
    world = World()
    first, second = (asyncio.create_task(world.find_or_add(HUB_MODEL)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    assert (first.cancelled(), world.hub.cancelled) == (True, 0)
    second.cancel()
    await turns()
    assert (second.cancelled(), world.hub.cancelled) == (True, 1)
    assert world.names() == ["ant"]
    assert await world.find_or_add(HUB_MODEL) == HUB_MODEL
    await world.end()


@pytest.mark.usefixtures("virtual_time")
async def test_what_cannot_be_had_is_told_to_all_and_leaves_nothing() -> None:
    world = World()
    world.hub.error = DownloadFailed("org/name is gated")
    results = await asyncio.gather(*(world.find_or_add("org/name") for _ in range(2)), return_exceptions=True)
    assert results == [world.hub.error, world.hub.error]
    assert world.names() == ["ant"]
    world.hub.error = None
    assert await world.find_or_add("org/name") == "org/name"
    await world.end()


@pytest.mark.usefixtures("virtual_time")
async def test_a_host_that_stops_ends_downloads_and_tells_who_waits() -> None:
    world = World()
    loading = asyncio.create_task(world.find_or_add("org/name"))
    pulling = asyncio.create_task(world.added.pull("org/name", revision=None, on_progress=world.tell))
    await turns()
    await world.added.stop()
    for task in (loading, pulling):
        with pytest.raises(ShuttingDown):
            await task
    with pytest.raises(ShuttingDown):
        await world.find_or_add("org/other")
    assert world.hub.cancelled == 2
    await world.end()


@pytest.mark.usefixtures("virtual_time")
async def test_pull_brings_the_newest_and_adds_the_model_under_its_revision() -> None:
    world = World()
    pulled = await world.added.pull("org/name:Q8_0", revision="v2", on_progress=world.tell)
    assert (pulled.name, str(pulled.path)) == ("org/name@v2:Q8_0", "/hub/a.gguf")
    assert world.told == [0, 0.5, 1]
    assert (await world.added.pull("org/name@v2:Q8_0", revision=None, on_progress=world.tell)).name == pulled.name
    assert (await world.added.pull("org/ant", revision="main", on_progress=world.tell)).name == "ant"
    assert world.hub.pulled == [("org/name:Q8_0", "v2"), ("org/name:Q8_0", "v2"), ("org/ant", None)]
    assert world.names() == ["ant", "org/name@v2:Q8_0"]
    with pytest.raises(InvalidRequest, match="is no hub id"):
        await world.added.pull("./a.gguf", revision=None, on_progress=world.tell)
    await world.end()


@pytest.mark.usefixtures("virtual_time")
async def test_where_nothing_may_be_added_the_hosts_own_models_can_be_pulled() -> None:
    world = World(allow_models="registry")
    assert (await world.added.pull("org/ant", revision=None, on_progress=world.tell)).name == "ant"
    with pytest.raises(ModelNotAllowed, match="--allow-models hub"):
        await world.added.pull("org/name", revision=None, on_progress=world.tell)
    assert world.hub.pulled == [("org/ant", None)]
    # What is allowed may change while the host runs.
    world.added.admission = Admission(policy="hub", is_default=False)
    assert (await world.added.pull("org/name", revision=None, on_progress=world.tell)).name == "org/name"
    await world.end()


@pytest.mark.usefixtures("virtual_time")
async def test_added_models_outlive_a_new_registry_unless_it_takes_their_names() -> None:
    world = World()
    for name in ("org/one", "org/two", "org/three"):
        await world.find_or_add(name)
    world.registry({"name": "bee", "hf_id": "org/bee", "aliases": ["org/two"]}, {"name": "org/three", "hf_id": "org/3"})
    await turns()
    assert world.names() == ["bee", "org/one", "org/three"]
    assert world.collection.find("org/two").name == "bee"
    assert world.collection.find("org/three").entry.settings.model == "hf://org/3"
    assert set(world.added.entries) == {"org/one"}
    world.registry({"name": "bee", "hf_id": "org/bee"})
    await turns()
    assert world.names() == ["bee", "org/one"]
    await world.end()


@pytest.mark.usefixtures("virtual_time")
async def test_listeners_to_the_models_are_told_of_downloads_too() -> None:
    world = World()
    async with world.scheduler.events() as events:
        adding = asyncio.create_task(world.find_or_add("org/name"))
        told = [event async for event in _until_added(events.read())]
        await adding
    progress = [event.progress for event in told if event.kind == "progress" and event.model == "org/name"]
    assert progress == [0, 0.5, 1]
    await world.end()


async def _until_added(events: Any) -> Any:
    async for event in events:
        yield event
        if event.model == "org/name" and event.kind == "state":
            return

"""Models that clients make of others: stored, among those of the host, and there again when it has restarted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import InvalidRequest, ModelNotAllowed, ModelNotFound
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.registry.created import Source
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.registry import parse_registry
from modelhost.models.residency.added import AddedModels
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.created import CreatedModels, NewModel
from modelhost.models.residency.scheduler import Scheduler
from tests.support.fake_workers import FakeStarts, fake_scheduler

OWN = "models: [{name: own, aliases: [other], hf_id: org/own, params: {temperature: 0.5}}]"


class World:
    """A host with a model of its own, and a hub that has every model at once."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        base = Settings.model_validate({"data_dir": str(data_dir), **settings})
        self.scheduler: Scheduler = fake_scheduler(FakeStarts())
        self.collection = ModelCollection(base, self.scheduler, {})
        self.added = AddedModels(self.scheduler, base, pull=_pull)
        self.collection.added = self.collection.registry.added = self.added
        self.removed = 0
        self.created = CreatedModels(self.scheduler, base, self.added, self._note_removed)
        self.collection.created = self.created
        self.registry(OWN)

    def _note_removed(self) -> None:
        self.removed += 1

    def registry(self, text: str) -> None:
        self.collection.registry.apply(parse_registry(text.encode(), Path("models.yaml"), Settings()))

    def entry(self, name: str) -> ModelEntry:
        return self.collection.find(name).entry

    def names(self) -> list[str]:
        return sorted(self.scheduler.names)


async def _pull(_reference: str, _settings: Settings, *, revision: str | None, on_progress: DownloadProgress) -> Path:
    assert revision is None
    return Path("/hub/a.gguf")


def ignored(_progress: Any) -> None:
    """Progress that nobody wants to see."""


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_made_model_is_one_of_the_hosts_and_there_again_after_a_restart(world: World, tmp_path: Path) -> None:
    made = await world.created.create(NewModel(name="mine", source="own", system="Be brief.", defaults={"seed": 1}))
    assert made.entry.defaults == {"temperature": 0.5, "seed": 1}
    again = World(tmp_path)
    await again.created.restore()
    assert again.entry("mine") == world.entry("mine")
    assert again.entry("mine").preset.system == "Be brief."


async def test_a_made_model_of_that_name_is_replaced(world: World) -> None:
    await world.created.create(NewModel(name="mine", source="own", system="One"))
    await world.created.create(NewModel(name="mine", source="own", system="Two"))
    assert world.entry("mine").preset.system == "Two"
    assert len(list(world.created.store.read())) == 1


async def test_a_model_of_a_made_one_has_what_that_one_has(world: World) -> None:
    first = NewModel(name="one", source="own", system="One", defaults={"seed": 1}, settings={"context_length": 512})
    await world.created.create(first)
    await world.created.create(NewModel(name="two", source="one", defaults={"top_k": 5}))
    await world.created.delete("one")
    entry = world.entry("two")
    assert (entry.preset.system, entry.settings.context_length) == ("One", 512)
    assert entry.defaults == {"temperature": 0.5, "seed": 1, "top_k": 5}


@pytest.mark.parametrize("name", ["own", "other"])
async def test_the_names_of_the_hosts_own_models_cannot_be_taken(world: World, name: str) -> None:
    with pytest.raises(InvalidRequest, match="own models"):
        await world.created.create(NewModel(name=name, source="own"))
    with pytest.raises(InvalidRequest, match="own models"):
        await world.created.copy(world.collection.find("own"), name)


async def test_the_name_of_a_model_with_an_adapter_cannot_be_taken(world: World) -> None:
    world.registry("models: [{name: own, hf_id: org/own, params: {lora: {pirate: /p.gguf}}}]")
    with pytest.raises(InvalidRequest, match="own models"):
        await world.created.create(NewModel(name="own:pirate", source="own"))


async def test_a_copy_is_the_same_model_under_another_name(world: World) -> None:
    await world.created.copy(world.collection.find("own"), "gpt-4")
    assert world.entry("gpt-4").settings.model == world.entry("own").settings.model
    assert world.created.records["gpt-4"].source == Source(model="own")


async def test_what_is_pulled_is_kept_under_the_name_by_which_it_was_pulled(world: World, tmp_path: Path) -> None:
    pulled = await world.created.pull("llama3.2", "org/llama:Q4_0", on_progress=ignored)
    assert pulled.name == "llama3.2"
    again = World(tmp_path)
    await again.created.restore()
    assert again.entry("llama3.2").settings.model == "hf://org/llama:Q4_0"


async def test_a_pull_of_a_model_of_the_host_keeps_nothing(world: World) -> None:
    pulled = await world.created.pull("mine", "org/own", on_progress=ignored)
    assert pulled.name == "own"
    assert not world.created.records


async def test_only_made_models_can_be_deleted(world: World) -> None:
    await world.created.create(NewModel(name="mine", source="own"))
    with pytest.raises(InvalidRequest, match="cannot delete"):
        await world.created.delete("own")
    with pytest.raises(ModelNotFound):
        await world.created.delete("nobody")
    await world.created.delete("mine")
    assert world.names() == ["other", "own"]
    assert world.removed == 1
    assert list(world.created.store.read()) == []


async def test_a_host_that_may_have_no_other_models_makes_none_and_serves_none(world: World, tmp_path: Path) -> None:
    await world.created.create(NewModel(name="mine", source="own"))
    strict = World(tmp_path, allow_models="registry")
    await strict.created.restore()
    assert strict.names() == ["other", "own"]
    own = strict.collection.find("own")
    for attempt in (
        strict.created.create(NewModel(name="more", source="own")),
        strict.created.copy(own, "more"),
        strict.created.pull("more", "org/more", on_progress=ignored),
        strict.created.delete("mine"),
    ):
        with pytest.raises(ModelNotAllowed, match="allow-models"):
            await attempt


async def test_a_name_that_the_registry_takes_is_the_registrys(world: World) -> None:
    await world.created.create(NewModel(name="mine", source="own", system="Made"))
    world.registry("models: [{name: own, hf_id: org/own}, {name: mine, hf_id: org/mine}]")
    await world.created.refresh()
    assert world.entry("mine").settings.model == "hf://org/mine"
    assert world.entry("mine").preset.system is None


async def test_a_made_model_follows_its_source_and_goes_with_it(world: World) -> None:
    await world.created.create(NewModel(name="mine", source="own"))
    world.registry("models: [{name: own, hf_id: org/newer}]")
    await world.created.refresh()
    assert world.entry("mine").settings.model == "hf://org/newer"
    world.registry("models: [{name: else, hf_id: org/else}]")
    await world.created.refresh()
    assert world.names() == ["else"]
    assert list(world.created.store.read())  # it is there again when its source is
    world.registry(OWN)
    await world.created.refresh()
    assert "mine" in world.names()


async def test_a_client_that_leaves_does_not_stop_half_way(world: World) -> None:
    making = asyncio.create_task(world.created.create(NewModel(name="mine", source="own")))
    await asyncio.sleep(0)
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    await world.created.copy(world.collection.find("own"), "later")  # one change at a time
    assert {record.name for record in world.created.records.values()} == {"mine", "later"}
    assert set(world.names()) >= {"mine", "later"}

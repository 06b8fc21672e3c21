"""The models of a host and its registry: what is found by which name, what a new registry changes, and what stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import (
    InvalidRequest,
    ModelNotFound,
    UnsupportedParameter,
)
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.status import State
from tests.support.fake_workers import (
    SCRIPTED,
    FakeFiles,
    FakeStarts,
    end,
    fake_registry,
    fake_scheduler,
    lease_once,
    state_of,
    turns,
)


def _collection(
    starts: FakeStarts, *entries: str | dict[str, Any], files: FakeFiles | None = None, **more: Any
) -> ModelCollection:
    collection = ModelCollection(SCRIPTED, fake_scheduler(starts, files=files), {})
    collection.registry.apply(fake_registry(*entries, **more))
    return collection


def _names(collection: ModelCollection) -> list[str]:
    return [model.name for model in collection.models]


# Names.


@pytest.mark.usefixtures("virtual_time")
async def test_models_are_found_by_name_and_alias_and_without_a_name_the_active_one_is_meant() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant", {"name": "bee", "aliases": ["b", "hive/bee"]}, default_model="b")
    bee = collection.find("bee")
    assert collection.find("b") is collection.find("hive/bee") is collection.find(None) is bee
    assert collection.find("default") is bee
    assert _names(collection) == ["bee", "ant"]
    with pytest.raises(ModelNotFound, match=r'no model "wasp" here. Available: ant, b, bee, hive/bee'):
        collection.find("wasp")
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_the_tag_that_ollama_adds_to_names_is_no_other_model() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant", "bee:latest", "bee")
    assert collection.find("ant:latest").name == "ant"
    assert collection.find("ant:latest").adapter_in("ant:latest") is None
    assert collection.find("bee:latest").name == "bee:latest"
    with pytest.raises(ModelNotFound):
        collection.find("ant:newest")
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_without_a_default_the_first_entry_is_active_and_one_called_default_is_what_it_says() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant", "default")
    assert collection.find(None).name == "ant"
    assert collection.find("default").name == "default"
    assert collection.status().active_model == "ant"
    await end(collection.scheduler, starts)


def _with_patterns(starts: FakeStarts, patterns: dict[str, str]) -> ModelCollection:
    settings = Settings(engine="scripted", model_patterns=patterns)
    collection = ModelCollection(settings, fake_scheduler(starts), {})
    entries = ("ant", {"name": "bee", "aliases": ["b"]}, {"name": "claude-cat", "aliases": ["claude-c"]})
    collection.registry.apply(fake_registry(*entries, default_model="bee"))
    return collection


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("claude-cat", "claude-cat"),
        ("claude-c", "claude-cat"),
        ("claude-opus-4", "ant"),
        ("claude-", "bee"),
        ("claude-haiku", "bee"),
        ("Claude-haiku", None),
        ("gpt-4o", "claude-cat"),
        ("gpt-4o-mini", None),
        ("o3", None),
    ],
)
@pytest.mark.usefixtures("virtual_time")
async def test_names_that_no_model_has_are_found_by_the_first_pattern(name: str, found: str | None) -> None:
    starts = FakeStarts()
    collection = _with_patterns(starts, {"claude-opus-*": "ant", "claude-*": "*", "gpt-??": "claude-c", "o*": "wasp"})
    if found is None:
        with pytest.raises(ModelNotFound):
            collection.find(name)
    else:
        assert collection.find(name).name == found
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_the_active_model_answers_to_the_names_of_claude_unless_the_settings_say_otherwise() -> None:
    assert Settings().model_patterns == {"claude-*": "*"}
    starts = FakeStarts()
    collection = _with_patterns(starts, {"claude-*": "*"})
    assert collection.find("claude-sonnet-4-5").name == "bee"
    collection.select("ant")
    assert collection.find("claude-sonnet-4-5").name == "ant"
    await end(collection.scheduler, starts)
    starts = FakeStarts()
    collection = _with_patterns(starts, {})
    with pytest.raises(ModelNotFound):
        collection.find("claude-sonnet-4-5")
    await end(collection.scheduler, starts)


# Selecting and setting.


@pytest.mark.promise("candle-vllm.endpoints.select")
@pytest.mark.usefixtures("virtual_time")
async def test_selecting_a_model_has_it_loaded_and_says_since_when_it_is_coming() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant", "bee")
    selected = collection.select("bee")
    assert (selected.status, selected.model, selected.queue_length) == ("switching", "bee", 0)
    assert collection.find(None).name == "bee"
    status = collection.status()
    assert status.active_model == "bee"
    assert status.switch_requested_at is not None
    assert collection.status() == status
    asking = asyncio.create_task(lease_once(collection.scheduler, collection.find(None)))
    await turns()
    assert collection.select("bee").queue_length == 1
    await asking
    assert collection.status().switch_requested_at is None
    # It stays answered for, though nobody looked while the model was ready.
    await collection.scheduler.unload(collection.find("ant"))
    assert collection.select("ant").status == "switching"
    await collection.scheduler.load(collection.find("ant"), wait=True)
    await collection.scheduler.unload(collection.find("ant"))
    assert collection.status().switch_requested_at is None
    assert collection.select("bee").status == "ready"
    assert collection.select("bee").status == "already_active"
    await collection.scheduler.load(collection.find("ant"), wait=True)
    assert collection.select("ant").status == "ready"
    with pytest.raises(ModelNotFound):
        collection.select("wasp")
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_defaults_are_laid_over_those_of_the_entry_checked_and_taken_away_again() -> None:
    starts = FakeStarts()
    entry = {"name": "ant", "params": {"temperature": 0.5, "top_k": 7}}
    collection = _collection(starts, entry)
    assert collection.configure("ant", {"max_tokens": 9, "temperature": 0.25}) == {
        "temperature": 0.25,
        "top_k": 7,
        "max_tokens": 9,
    }
    assert collection.configure("ant", {"top_k": None, "max_tokens": None}) == {"temperature": 0.25}
    for wrong in ({"temperature": -1}, {"temperature": "warm"}, {"temprature": 0.5}):
        with pytest.raises((InvalidRequest, UnsupportedParameter)):
            collection.configure("ant", wrong)
    assert collection.status().models[0].defaults == {"temperature": 0.25}
    # A registry that is read again changes what the entry says, and nothing that was set here.
    collection.registry.apply(fake_registry({"name": "ant", "params": {"temperature": 0.75, "seed": 3}}))
    assert collection.find("ant").defaults == {"temperature": 0.25, "seed": 3}
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_a_model_is_as_busy_as_the_gpus_that_it_takes_memory_of(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def utilization(gpus: tuple[int, ...]) -> float | None:
        asked.append(gpus)
        return 0.5 if gpus else None

    monkeypatch.setattr("modelhost.models.residency.collection.utilization", utilization)
    starts = FakeStarts()
    collection = _collection(starts, "ant")
    ant = collection.find("ant")
    assert await collection.gpu_utilization("ant") is None
    await lease_once(collection.scheduler, ant)
    assert await collection.gpu_utilization("ant") is None
    ant.memory = {"ram": 5, "gpu:11": 1, "gpu:2": 7}
    assert await collection.gpu_utilization("ant") == 0.5
    assert asked == [(), (2, 11)]
    await end(collection.scheduler, starts)


# A new registry.


@pytest.mark.usefixtures("virtual_time")
async def test_new_entries_come_and_those_that_are_gone_go() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant", "bee")
    bee = collection.find("bee")
    await lease_once(collection.scheduler, collection.find("ant"))
    await lease_once(collection.scheduler, bee)
    collection.registry.apply(fake_registry("bee", "cat"))
    await turns()
    assert _names(collection) == ["bee", "cat"]
    assert collection.find("bee") is bee
    assert [process.model for process in starts.alive()] == ["bee"]
    assert state_of(collection.scheduler, collection.find("cat")) is State.UNLOADED
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_an_entry_whose_words_alone_have_changed_keeps_its_worker() -> None:
    starts = FakeStarts()
    collection = _collection(starts, {"name": "ant", "aliases": ["a"]})
    model = collection.find("ant")
    await lease_once(collection.scheduler, model)
    changed = {"name": "ant", "aliases": ["anthill"], "notes": "mind the queen", "params": {"temperature": 0}}
    collection.registry.apply(fake_registry(changed))
    assert collection.find("anthill") is model
    with pytest.raises(ModelNotFound):
        collection.find("a")
    assert (model.defaults, collection.status().models[0].notes) == ({"temperature": 0}, "mind the queen")
    await turns()
    await lease_once(collection.scheduler, model)
    assert len(starts.times) == 1
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(
    "change",
    [
        {"queue_size": 77},
        {"request_timeout": 7.0},
        {"idle_unload_secs": 600.0},
        {"stall_timeout": 7.0},
        {"load_timeout": 7.0},
        {"pinned": True},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_limit_that_no_worker_knows_of_changes_without_a_new_worker(change: dict[str, Any]) -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant")
    model = collection.find("ant")
    await lease_once(collection.scheduler, model)
    collection.registry.apply(fake_registry({"name": "ant", **change}))
    await turns()
    await lease_once(collection.scheduler, model)
    assert len(starts.times) == 1
    policy = collection.scheduler.ledger.record("ant").policy
    assert policy == model.policy
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_an_entry_whose_model_has_changed_is_looked_up_and_loaded_anew() -> None:
    starts, files = FakeStarts(), FakeFiles()
    collection = _collection(starts, {"name": "ant", "params": {"context_length": 100}}, files=files)
    model = collection.find("ant")
    await lease_once(collection.scheduler, model)
    collection.registry.apply(fake_registry({"name": "ant", "params": {"context_length": 200}}))
    await turns()
    assert not starts.alive()
    await lease_once(collection.scheduler, model)
    assert files.looked_for == ["ant", "ant"]
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_an_entry_that_is_gone_while_busy_and_comes_back_is_the_same_model() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant", "bee")
    ant = collection.find("ant")
    async with collection.scheduler.lease(ant) as worker:
        collection.registry.apply(fake_registry("bee"))
        with pytest.raises(ModelNotFound):
            collection.find("ant")
        collection.registry.apply(fake_registry("ant", "bee"))
        assert collection.find("ant") is ant
    assert (await lease_once(collection.scheduler, ant)) is worker
    # And one that was quite gone is a new one.
    collection.registry.apply(fake_registry("bee"))
    await turns()
    collection.registry.apply(fake_registry("ant", "bee"))
    assert collection.find("ant") is not ant
    await lease_once(collection.scheduler, collection.find("ant"))
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_names_may_change_hands() -> None:
    starts = FakeStarts()
    collection = _collection(starts, {"name": "ant", "aliases": ["x"]}, "bee")
    for entries in (["ant", {"name": "bee", "aliases": ["x"]}], ["x", "ant", "bee"], ["bee", "ant", "x"]):
        collection.registry.apply(fake_registry(*entries))
        owner = "bee" if "x" not in entries else "x"
        assert collection.find("x").name == owner
        assert collection.find("ant").name == "ant"
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_when_the_active_model_is_gone_the_default_is_active_again() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant", "bee", "cat", default_model="cat")
    collection.select("bee")
    collection.registry.apply(fake_registry("ant", "cat", default_model="cat"))
    assert collection.find(None).name == "cat"
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_an_entry_that_becomes_pinned_is_loaded() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant")
    await asyncio.sleep(10)
    assert not starts.times
    collection.registry.apply(fake_registry({"name": "ant", "pinned": True}))
    await asyncio.sleep(10)
    assert starts.alive("ant")
    await end(collection.scheduler, starts)

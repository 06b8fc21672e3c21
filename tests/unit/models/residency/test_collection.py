"""The models of a host and its registry: what is found by which name, what a new registry changes, and what stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelhost.config.settings import Settings
from modelhost.errors import (
    ConfigError,
    InvalidRequest,
    ModelFailed,
    ModelFileMissing,
    ModelNotFound,
    UnsupportedParameter,
)
from modelhost.meters import METERS
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.registry.registry import Registry, parse_registry
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.status import State
from modelhost.models.resolve.headroom import memory_budget
from modelhost.workers.machine import machine_memory
from tests.support.eventually import eventually_async
from tests.support.fake_workers import FakeFiles, FakeStarts, end, fake_scheduler, lease_once, state_of, turns
from tests.support.metrics import metric_value

BASE = Settings(engine="scripted")


def _registry(*entries: str | dict[str, Any], **more: Any) -> Registry:
    models = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
    content = yaml.safe_dump({"models": models, **more}).encode()
    return parse_registry(content, Path("models.yaml"), BASE)


def _collection(
    starts: FakeStarts, *entries: str | dict[str, Any], files: FakeFiles | None = None, **more: Any
) -> ModelCollection:
    collection = ModelCollection(BASE, fake_scheduler(starts, files=files), {})
    collection.registry.apply(_registry(*entries, **more))
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
    collection.registry.apply(_registry(*entries, default_model="bee"))
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
    collection.registry.apply(_registry({"name": "ant", "params": {"temperature": 0.75, "seed": 3}}))
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
    collection.registry.apply(_registry("bee", "cat"))
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
    collection.registry.apply(_registry(changed))
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
    collection.registry.apply(_registry({"name": "ant", **change}))
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
    collection.registry.apply(_registry({"name": "ant", "params": {"context_length": 200}}))
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
        collection.registry.apply(_registry("bee"))
        with pytest.raises(ModelNotFound):
            collection.find("ant")
        collection.registry.apply(_registry("ant", "bee"))
        assert collection.find("ant") is ant
    assert (await lease_once(collection.scheduler, ant)) is worker
    # And one that was quite gone is a new one.
    collection.registry.apply(_registry("bee"))
    await turns()
    collection.registry.apply(_registry("ant", "bee"))
    assert collection.find("ant") is not ant
    await lease_once(collection.scheduler, collection.find("ant"))
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_names_may_change_hands() -> None:
    starts = FakeStarts()
    collection = _collection(starts, {"name": "ant", "aliases": ["x"]}, "bee")
    for entries in (["ant", {"name": "bee", "aliases": ["x"]}], ["x", "ant", "bee"], ["bee", "ant", "x"]):
        collection.registry.apply(_registry(*entries))
        owner = "bee" if "x" not in entries else "x"
        assert collection.find("x").name == owner
        assert collection.find("ant").name == "ant"
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_when_the_active_model_is_gone_the_default_is_active_again() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant", "bee", "cat", default_model="cat")
    collection.select("bee")
    collection.registry.apply(_registry("ant", "cat", default_model="cat"))
    assert collection.find(None).name == "cat"
    await end(collection.scheduler, starts)


@pytest.mark.usefixtures("virtual_time")
async def test_an_entry_that_becomes_pinned_is_loaded() -> None:
    starts = FakeStarts()
    collection = _collection(starts, "ant")
    await asyncio.sleep(10)
    assert not starts.times
    collection.registry.apply(_registry({"name": "ant", "pinned": True}))
    await asyncio.sleep(10)
    assert starts.alive("ant")
    await end(collection.scheduler, starts)


# The whole of it, from files.


def _write(path: Path, names: Iterable[str], **more: Any) -> Path:
    path.write_text(yaml.safe_dump({"models": [{"name": name, "engine": "scripted"} for name in names], **more}))
    return path


async def _start(path: Path | None, *, load: bool = True, **settings: Any) -> ModelCollection:
    more = {"models_config": str(path)} if path is not None else {}
    made = Settings(**{"engine": "scripted", **more, **settings})
    return await ModelCollection.start(made, load=load)


async def test_a_registry_alone_loads_nothing(tmp_path: Path) -> None:
    collection = await _start(_write(tmp_path / "models.yaml", ["ant", "bee"]), max_models=1)
    try:
        status = collection.status()
        assert [model.state for model in status.models] == [State.UNLOADED, State.UNLOADED]
        assert (status.max_models, status.registry_error) == (1, None)
        assert status.registry == str(tmp_path / "models.yaml")
        assert collection.scheduler.ledger.occupancy.budget[MODELS] == 1
        assert status.budget_bytes["ram"] == machine_memory() * 9 // 10
        assert metric_value(METERS.registry_ok) == 1
    finally:
        await collection.stop(0)


async def test_a_registry_that_cannot_be_read_is_no_start(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    with pytest.raises(ConfigError, match="models"):
        await _start(_write(tmp_path / "models.yaml", []))
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        await _start(tmp_path / "nothing.yaml")
    with pytest.raises(ModelFileMissing, match=r"no\.gguf"):
        await _start(_write(tmp_path / "models.yaml", ["ant"]), engine="llamacpp", model="/no.gguf")
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "modelhost-nano"),
        ({"model": "/no/such/Tiny-Q4.gguf"}, "Tiny-Q4"),
        ({"model": "org/name:Q4_K_M"}, "org/name"),
        ({"model": "org/name", "alias": ("main", "second")}, "main"),
    ],
)
async def test_without_load_the_active_model_has_its_name_and_nothing_is_looked_for(
    settings: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: object, **__: object) -> None:
        pytest.fail("something was looked for")

    for place in ("locate.locate", "resolve.locate", "resolve.read_header", "resolve.download"):
        monkeypatch.setattr(f"modelhost.models.resolve.{place}", look)
    collection = await _start(None, engine=None, load=False, **settings)
    try:
        (model,) = collection.status().models
        assert (model.name, model.state, model.last_error) == (name, State.UNLOADED, None)
        assert collection.find(None).name == collection.find(name).name == collection.status().active_model == name
    finally:
        await collection.stop(0)


async def test_without_load_the_default_of_a_registry_is_active_and_waits_for_its_first_request(tmp_path: Path) -> None:
    path = _write(tmp_path / "models.yaml", ["ant", "bee"], default_model="bee")
    for settings, active in (({}, "bee"), ({"model": "ant"}, "ant")):
        collection = await _start(path, load=False, **settings)
        try:
            assert collection.status().active_model == active
            assert {model.state for model in collection.status().models} == {State.UNLOADED}
            async with collection.scheduler.lease(collection.find(None)) as worker:
                assert worker.model == active
        finally:
            await collection.stop(0)


async def test_a_model_of_the_settings_joins_those_of_the_registry_without_being_loaded(tmp_path: Path) -> None:
    path = _write(tmp_path / "models.yaml", ["ant"])
    collection = await _start(path, engine="llamacpp", model="/no/such.gguf", load=False)
    try:
        assert _names(collection) == ["such", "ant"]
        with pytest.raises(ModelFailed, match=r"/no/such\.gguf: there is no such file; give a GGUF file"):
            await lease_once(collection.scheduler, collection.find(None))
        await lease_once(collection.scheduler, collection.find("ant"))
    finally:
        await collection.stop(0)


async def test_the_model_of_the_settings_stays_and_keeps_its_names() -> None:
    collection = await _start(None, alias=("main", "second"), load=False)
    main = collection.find("main")
    try:
        for entries in (["ant"], ["main"], ["ant", {"name": "bee", "aliases": ["second"]}], ["ant"]):
            collection.registry.apply(_registry(*entries))
            assert collection.find("main") is collection.find("second") is collection.find(None) is main
    finally:
        await collection.stop(0)


async def test_a_watch_that_breaks_off_is_reported_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repaired = asyncio.Event()

    async def broken_at_first(*_: object, **__: object) -> AsyncIterator[Registry]:
        if not repaired.is_set():
            raise OSError("no more inotify watches")
        yield _registry("ant", "bee")
        await asyncio.Event().wait()

    monkeypatch.setattr("modelhost.models.residency.registry_sync.SECONDS_TO_REPAIR", 0.01)
    monkeypatch.setattr("modelhost.models.residency.registry_sync.watch_registry", broken_at_first)
    collection = await _start(_write(tmp_path / "models.yaml", ["ant"]))
    try:
        await eventually_async(lambda: collection.status().registry_error)
        assert "no more inotify watches" in str(collection.status().registry_error)
        assert metric_value(METERS.registry_ok) == 0
        assert metric_value(METERS.background_faults, "watching the registry") >= 1
        repaired.set()
        await eventually_async(lambda: collection.status().registry_error is None)
        assert _names(collection) == ["ant", "bee"]
        assert metric_value(METERS.registry_ok) == 1
    finally:
        await collection.stop(0)


def test_the_budget_is_a_share_of_the_machine_or_an_amount() -> None:
    assert memory_budget(Settings())["ram"] == machine_memory() * 9 // 10
    assert memory_budget(Settings(memory_budget="50%"))["ram"] == machine_memory() // 2
    assert memory_budget(Settings(memory_budget="3GB"))["ram"] == 3_000_000_000

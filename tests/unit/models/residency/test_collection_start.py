"""The models of a host at its start, from its settings and a registry file."""

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
    ModelFailed,
    ModelFileMissing,
)
from modelhost.meters import METERS
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.registry.registry import Registry
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.status import State
from modelhost.models.resolve.runtime import memory_budget
from modelhost.workers.machine import machine_memory
from tests.support.eventually import eventually_async
from tests.support.fake_workers import fake_registry, lease_once
from tests.support.metrics import metric_value


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
    assert asyncio.all_tasks() <= before


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
        assert [model.name for model in collection.models] == ["such", "ant"]
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
            collection.registry.apply(fake_registry(*entries))
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
        yield fake_registry("ant", "bee")
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
        assert [model.name for model in collection.models] == ["ant", "bee"]
        assert metric_value(METERS.registry_ok) == 1
    finally:
        await collection.stop(0)


def test_the_budget_is_a_share_of_the_machine_or_an_amount() -> None:
    assert memory_budget(Settings())["ram"] == machine_memory() * 9 // 10
    assert memory_budget(Settings(memory_budget="50%"))["ram"] == machine_memory() // 2
    assert memory_budget(Settings(memory_budget="3GB"))["ram"] == 3_000_000_000

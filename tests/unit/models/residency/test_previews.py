"""What is known of models that nobody has loaded, from a look at their files."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from structlog.testing import capture_logs

from modelhost.config.settings import Settings
from modelhost.errors import ModelFileInvalid
from modelhost.models.hub.cache import RepositoryCache
from modelhost.models.hub.repository_files import HubFile
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel, Preview
from modelhost.models.residency.registry_sync import Previews, inspect_files
from modelhost.models.residency.status import ModelStatus, State
from tests.support.fake_workers import FakeFiles, FakeStarts, end, fake_entry, fake_scheduler
from tests.support.gguf_files import write_embedding_model, write_model, write_reranker_model
from tests.support.nano_hf import NANO_HF
from tests.support.unservable import without_tokenizer


def _write(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump({"models": list(entries)}))


@asynccontextmanager
async def _collection(path: Path, *entries: dict[str, Any], **settings: Any) -> AsyncIterator[ModelCollection]:
    """The models of a registry, none of them loaded."""
    _write(path / "models.yaml", *entries)
    given = Settings.model_validate({"models_config": str(path / "models.yaml"), "threads": 1, **settings})
    collection = await ModelCollection.start(given)
    try:
        yield collection
    finally:
        await collection.stop(0)


async def _looked(collection: ModelCollection) -> dict[str, ModelStatus]:
    await collection.refresh_previews()
    return {model.name: model for model in collection.status().models}


@pytest.mark.promise("vllm-crush.list-models.before", "vllm-crush.get-model-info.config")
async def test_the_headers_of_models_that_nobody_has_loaded_tell_their_context_and_their_need(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf", context_length=512)
    write_embedding_model(tmp_path / "vectors.gguf")
    entries: tuple[dict[str, Any], ...] = (
        {"name": "tiny", "local_path": "tiny.gguf"},
        {"name": "short", "local_path": "tiny.gguf", "params": {"context_length": 128, "max_tokens": 99}},
        {"name": "wordy", "local_path": "tiny.gguf", "params": {"max_tokens": 4000}},
        {"name": "vectors", "local_path": "vectors.gguf"},
        {"name": "afar", "hf_id": "org/not-here-GGUF"},
    )
    async with _collection(tmp_path, *entries) as collection:
        assert [model.context_length for model in collection.status().models] == [None] * len(entries)
        found = await _looked(collection)
        assert {model.state for model in found.values()} == {State.UNLOADED}
    assert (found["tiny"].context_length, found["tiny"].max_tokens) == (512, 512)
    assert (found["short"].context_length, found["short"].max_tokens) == (128, 99)
    assert (found["wordy"].context_length, found["wordy"].max_tokens) == (512, 512)
    assert (found["vectors"].context_length, found["vectors"].max_tokens) == (512, None)
    need = found["tiny"].need_bytes
    assert need is not None
    assert need["ram"] > (found["tiny"].size_bytes or 0) == (tmp_path / "tiny.gguf").stat().st_size
    assert (found["tiny"].dtype, found["tiny"].quantization) == ("float32", "F32")
    afar = found["afar"]
    assert (afar.context_length, afar.need_bytes, afar.max_tokens, afar.obstacle) == (None, None, None, None)


async def test_a_model_that_cannot_be_loaded_is_known_beforehand_until_it_is_mended(tmp_path: Path) -> None:
    good = write_model(tmp_path / "good.gguf").read_bytes()
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and no more")
    entries: tuple[dict[str, Any], ...] = (
        {"name": "broken", "local_path": "broken.gguf"},
        {"name": "missing", "local_path": "missing.gguf"},
        {"name": "good", "local_path": "good.gguf"},
    )
    async with _collection(tmp_path, *entries) as collection:
        found = await _looked(collection)
        assert "broken.gguf cannot be served" in (found["broken"].obstacle or "")
        assert "missing.gguf" in (found["missing"].obstacle or "")
        assert found["good"].obstacle is None
        (tmp_path / "broken.gguf").write_bytes(good)
        (tmp_path / "missing.gguf").write_bytes(good)
        found = await _looked(collection)
        assert [(model.obstacle, model.context_length) for model in found.values()] == [(None, 512)] * 3
        (tmp_path / "good.gguf").unlink()
        found = await _looked(collection)
        assert "good.gguf" in (found["good"].obstacle or "")
        assert found["good"].context_length is None


WRITES = {"chat", "completions", "tokenize", "detokenize"}


async def test_the_files_of_models_tell_what_they_can_do(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf")
    write_embedding_model(tmp_path / "vectors.gguf")
    write_reranker_model(tmp_path / "order.gguf")
    entries: tuple[dict[str, Any], ...] = (
        {"name": "tiny", "local_path": "tiny.gguf", "params": {"engine_options": {"embeddings": False}}},
        {"name": "both", "local_path": "tiny.gguf", "params": {"engine_options": {"embeddings": True}}},
        {"name": "vectors", "local_path": "vectors.gguf"},
        {"name": "order", "local_path": "order.gguf"},
        {"name": "safe", "local_path": str(NANO_HF), "engine": "transformers"},
        {"name": "afar", "hf_id": "org/not-here-GGUF"},
    )
    async with _collection(tmp_path, *entries) as collection:
        assert {model.operations for model in collection.status().models} == {()}
        found = {name: set(model.operations) for name, model in (await _looked(collection)).items()}
    assert found == {
        "tiny": WRITES,
        "both": WRITES | {"embeddings"},
        "vectors": {"embeddings", "tokenize", "detokenize"},
        "order": {"rerank", "tokenize", "detokenize"},
        "safe": WRITES,
        "afar": set(),
    }


async def test_what_the_load_would_refuse_in_a_directory_is_known_beforehand(tmp_path: Path) -> None:
    without_tokenizer(tmp_path / "mute")
    async with _collection(tmp_path, {"name": "mute", "local_path": "mute"}) as collection:
        assert "lacks the files of its tokenizer" in ((await _looked(collection))["mute"].obstacle or "")


async def test_a_model_that_the_budget_can_never_hold_is_an_obstacle_too(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf")
    async with _collection(tmp_path, {"name": "tiny", "local_path": "tiny.gguf"}, memory_budget="1MiB") as collection:
        found = (await _looked(collection))["tiny"]
    assert (found.obstacle or "").startswith("tiny does not fit: ")
    assert "--memory-budget" in (found.obstacle or "")


def set_preview(model: HostedModel, preview: Preview) -> None:
    model.preview = preview


async def test_files_that_are_others_are_looked_at_again_and_those_that_are_not_are_not(tmp_path: Path) -> None:
    file = write_model(tmp_path / "tiny.gguf", context_length=512)
    asked: list[str] = []

    def looking(entry: ModelEntry) -> Preview:
        asked.append(entry.name)
        return inspect_files(entry)

    entry = ModelEntry(name="tiny", settings=Settings(model=str(file), threads=1))
    model = HostedModel(entry)
    previews = Previews({"tiny": model}, set_preview, looking)
    for _ in range(2):
        await previews.refresh()
    assert (asked, model.context_length) == (["tiny"], 512)
    write_model(file, context_length=1024, blocks=3)
    await previews.refresh()
    assert (asked, model.context_length) == (["tiny", "tiny"], 1024)
    await previews.stop()


async def test_those_who_ask_at_the_same_time_share_one_look_and_nobody_waits_for_a_slow_one_for_ever() -> None:
    is_let_go = threading.Event()
    asked: list[str] = []

    def looking(entry: ModelEntry) -> Preview:
        asked.append(entry.name)
        is_let_go.wait(60)
        return Preview(error=ModelFileInvalid("no"))

    model = HostedModel(fake_entry("slow"))
    previews = Previews({"slow": model}, set_preview, looking)
    try:
        await asyncio.gather(previews.refresh(), previews.refresh(), previews.refresh())
        assert (asked, model.preview) == (["slow"], None)
    finally:
        is_let_go.set()
    await previews.refresh()
    assert model.preview is not None
    await previews.stop()


async def test_a_fault_in_a_look_is_that_of_one_model_alone() -> None:
    def looking(entry: ModelEntry) -> Preview:
        if entry.name == "ant":
            raise PermissionError("no way in")
        return Preview(error=ModelFileInvalid("no"))

    models = {name: HostedModel(fake_entry(name)) for name in ("ant", "bee")}
    previews = Previews(models, set_preview, looking)
    with capture_logs() as logged:
        await previews.refresh()
    assert [(line["event"], line["model"]) for line in logged] == [("background_fault", "ant")]
    assert (models["ant"].preview, models["bee"].preview is None) == (None, False)
    await previews.stop()


async def test_a_model_of_the_hub_is_read_where_it_was_downloaded_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cache, commit = RepositoryCache("org/tiny-GGUF"), "a" * 40
    content = write_model(tmp_path / "tiny.gguf", context_length=256).read_bytes()
    file = HubFile(name="tiny.gguf", size_bytes=len(content), sha256=None, blob="blob")
    cache.remember(None, commit, [file])
    entry = {"name": "tiny", "hf_id": "org/tiny-GGUF"}
    async with _collection(tmp_path, entry) as collection:
        assert (await _looked(collection))["tiny"].context_length is None
        cache.blob(file).parent.mkdir(parents=True)
        cache.blob(file).write_bytes(content)
        cache.publish(file, commit)
        assert (await _looked(collection))["tiny"].context_length == 256


async def test_a_directory_in_safetensors_tells_its_engine_and_its_numbers() -> None:
    settings = Settings(model=str(NANO_HF), engine="transformers", worker_python="/usr/bin/python3", threads=1)
    preview = inspect_files(ModelEntry(name="nano", settings=settings))
    assert preview.error is None
    assert preview.resolved is not None
    assert (preview.resolved.engine.name, preview.resolved.spec.context_length) == ("transformers", 2048)


@pytest.mark.usefixtures("virtual_time")
async def test_what_a_load_finds_wins_over_the_look_before_it() -> None:
    starts, files = FakeStarts(), FakeFiles()
    scheduler = fake_scheduler(starts, fake_entry("ant"), files=files)
    model = scheduler.models["ant"]
    model.preview = Preview(error=ModelFileInvalid("It was broken."))
    assert scheduler.status(model).obstacle == "It was broken."
    await scheduler.load(model, wait=True)
    status = scheduler.status(model)
    assert (status.obstacle, status.need_bytes, status.context_length) == (None, {"ram": 1}, 4096)
    await scheduler.unload(model)
    assert scheduler.status(model).context_length == 4096
    await end(scheduler, starts)

"""Models that clients have made: how they are stored, and the entries that they become."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import InvalidRequest, ModelFileInvalid, ModelFileMissing
from modelhost.models.registry.created import CreatedModel, CreatedStore, Source, built_entry, source_of
from modelhost.models.registry.entry import ModelEntry
from tests.support.adapter_files import write_gguf_adapter
from tests.support.gguf_files import write_model

OWN = ModelEntry(
    name="own",
    settings=Settings(model="/models/own.gguf", alias=("own", "other"), context_length=4096, lora=("pirate=/p.gguf",)),
    defaults={"temperature": 0.5, "max_tokens": 100},
    is_pinned=True,
    notes="The host's.",
)


@pytest.fixture
def store(tmp_path: Path) -> CreatedStore:
    return CreatedStore(tmp_path)


def record(name: str = "mine", **more: Any) -> CreatedModel:
    return CreatedModel.model_validate({"name": name, "created_at": 1.0, "source": Source(model="own"), **more})


def built(store: CreatedStore, made: CreatedModel) -> ModelEntry:
    return built_entry(made, Settings(), store.blobs, {"own": OWN})


def stored_file(store: CreatedStore, path: Path) -> str:
    content = path.read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with store.blobs.upload(digest, limit_bytes=10**9) as upload:
        upload.write(content)
        upload.publish()
    return digest


def test_what_is_written_is_read_again(store: CreatedStore) -> None:
    one = record("b", messages=({"role": "user", "content": "Hi"},), settings={"context_length": 512})
    other = record("a/b:7b", created_at=0.5, source=Source(hub="org/name:Q8_0"), licenses=("MIT",))
    store.write(one)
    store.write(other)
    assert list(store.read()) == [other, one]
    store.remove("b")
    assert list(store.read()) == [other]


def test_a_damaged_file_is_reported_and_the_others_are_read(store: CreatedStore, tmp_path: Path) -> None:
    store.write(record())
    (tmp_path / "models" / "created" / "damaged.json").write_text("{")
    found = list(store.read())
    assert isinstance(found[0], ModelFileInvalid)
    assert found[1:] == [record()]
    assert store.used_blobs() is None


def test_an_entry_has_what_its_source_has_and_what_was_changed(store: CreatedStore) -> None:
    made = record(
        settings={"context_length": 512, "chat_template": "chatml"},
        defaults={"temperature": 0.0, "seed": 1},
        system="You are Bob.",
        messages=({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}),
    )
    entry = built(store, made)
    assert (entry.name, entry.aliases, entry.settings.alias) == ("mine", (), ("mine",))
    assert (entry.settings.model, entry.settings.lora) == ("/models/own.gguf", ("pirate=/p.gguf",))
    assert (entry.settings.context_length, entry.settings.chat_template) == (512, "chatml")
    assert entry.defaults == {"temperature": 0.0, "max_tokens": 100, "seed": 1}
    assert (entry.is_pinned, entry.notes) == (False, None)
    assert entry.preset.system == "You are Bob."
    assert [message.text for message in entry.preset.messages] == ["Hi", "Ho"]


def test_a_source_that_is_gone_is_named(store: CreatedStore) -> None:
    with pytest.raises(ModelFileMissing, match="gone"):
        built(store, record(source=Source(model="gone")))


def test_a_model_of_an_uploaded_file_runs_on_the_engine_for_gguf(store: CreatedStore, tmp_path: Path) -> None:
    digest = stored_file(store, write_model(tmp_path / "a.gguf"))
    entry = built_entry(record(source=Source(blob=digest)), Settings(engine="scripted"), store.blobs, {})
    assert (entry.settings.engine, entry.settings.model) == ("llamacpp", str(store.blobs.path(digest)))


def test_an_uploaded_file_that_is_no_model_is_refused(store: CreatedStore, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"\x80\x04 a pickle")
    digest = stored_file(store, tmp_path / "a.gguf")
    with pytest.raises(ModelFileInvalid, match="pickle"):
        built(store, record(source=Source(blob=digest)))


def test_an_adapter_is_applied_to_every_answer(store: CreatedStore, tmp_path: Path) -> None:
    digest = stored_file(store, write_gguf_adapter(tmp_path / "a.gguf", 1))
    assert built(store, record(adapters=(digest,))).settings.lora == ("pirate=/p.gguf", str(store.blobs.path(digest)))


def test_a_model_is_no_adapter(store: CreatedStore, tmp_path: Path) -> None:
    digest = stored_file(store, write_model(tmp_path / "a.gguf"))
    with pytest.raises(ModelFileInvalid, match="no LoRA adapter"):
        built(store, record(adapters=(digest,)))


def test_a_file_that_was_not_uploaded_is_missing(store: CreatedStore) -> None:
    with pytest.raises(ModelFileMissing, match="upload"):
        built(store, record(source=Source(blob="sha256:" + "0" * 64)))


def test_a_value_that_is_none_is_refused(store: CreatedStore) -> None:
    with pytest.raises(InvalidRequest, match="context_length"):
        built(store, record(settings={"context_length": 1}))


def test_the_files_in_use_are_those_of_all_stored_models(store: CreatedStore) -> None:
    digests = ["sha256:" + letter * 64 for letter in "abc"]
    store.write(record("one", source=Source(blob=digests[0]), projector=digests[1]))
    store.write(record("two", adapters=(digests[2],)))
    assert store.used_blobs() == set(digests)


def test_a_source_is_one_thing() -> None:
    with pytest.raises(ValueError, match="one of model"):
        Source(model="a", hub="b")


@pytest.mark.parametrize(
    ("model", "source"),
    [
        ("hf://org/name:Q8_0", Source(hub="org/name:Q8_0")),
        ("org/name", Source(hub="org/name")),
        ("/models/a.gguf", Source(path="/models/a.gguf")),
    ],
)
def test_an_added_model_is_a_source_by_its_place(model: str, source: Source) -> None:
    assert source_of(ModelEntry(name="a", settings=Settings(model=model))) == source

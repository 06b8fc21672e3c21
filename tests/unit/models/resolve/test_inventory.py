"""Scans of real directories, and the file that keeps them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError, ModelFileMissing, SetupError
from modelhost.models.resolve.inventory import (
    Entry,
    Inventory,
    inspect,
    read_inventory,
    scan,
    smallest,
    write_inventory,
)
from modelhost.models.resolve.resolve import resolve
from tests.support.gguf_files import (
    broken_files,
    write_embedding_model,
    write_model,
    write_reranker_model,
    write_split_model,
)
from tests.support.nano_hf import NANO_HF
from tests.support.unservable import UNSERVABLE, write_seeing

TOOL_TEMPLATE = "{% if tools %}{{ tools }}{% endif %}"


def named(inventory: Inventory) -> dict[str, Entry]:
    return {entry.name: entry for entry in inventory.entries}


def test_a_model_is_described_from_its_header(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = write_model(tmp_path / "sub" / "small.gguf")
    (entry,) = scan([tmp_path]).entries
    assert entry.path == str(path)
    assert (entry.name, entry.format, entry.architecture, entry.quantization) == ("small", "gguf", "llama", "F32")
    assert (entry.context_length, entry.estimate_context, entry.has_chat_template) == (512, 512, True)
    assert entry.capabilities == ("chat", "embed")
    assert entry.is_usable
    assert entry.need_bytes is not None
    assert entry.need_bytes > entry.size_bytes > 0


def test_what_models_can_do_is_seen(tmp_path: Path) -> None:
    for name in ("seeing", "others"):
        (tmp_path / name).mkdir()
    write_model(tmp_path / "seeing" / "eyes.gguf")
    (tmp_path / "seeing" / "mmproj-eyes.gguf").write_bytes(b"GGUF")
    write_model(tmp_path / "others" / "tools.gguf", template=TOOL_TEMPLATE)
    write_embedding_model(tmp_path / "others" / "vectors.gguf")
    write_reranker_model(tmp_path / "others" / "order.gguf")
    found = {name: entry.capabilities for name, entry in named(scan([tmp_path])).items()}
    assert found == {
        "eyes": ("chat", "see", "embed"),
        "tools": ("chat", "embed", "tools"),
        "vectors": ("embed",),
        "order": ("rerank",),
    }


def test_a_split_model_is_one_entry_with_the_size_of_all_parts(tmp_path: Path) -> None:
    parts = write_split_model(tmp_path)
    found = named(scan([tmp_path]))
    assert list(found) == ["split"]
    assert found["split"].path == str(parts[0])


def test_a_hugging_face_directory_is_an_entry(tmp_path: Path) -> None:
    shutil.copytree(NANO_HF, tmp_path / "nano-hf")
    (entry,) = scan([tmp_path]).entries
    assert (entry.format, entry.parameters, entry.capabilities) == ("safetensors", 2_706_240, ("chat", "tools"))
    assert (entry.is_usable, entry.why_not) == (True, None)


@pytest.mark.parametrize("kind", UNSERVABLE)
def test_what_the_load_refuses_is_an_entry_with_the_same_reason(tmp_path: Path, kind: str) -> None:
    write, words = UNSERVABLE[kind]
    folder = write(tmp_path / kind)
    (entry,) = scan([tmp_path]).entries
    assert (entry.name, entry.format, entry.is_usable) == (kind, "safetensors", False)
    assert words in (entry.why_not or "")
    with pytest.raises(SetupError) as refused:
        resolve(Settings(model=str(folder), threads=1))
    assert refused.value.message == entry.why_not


@pytest.mark.parametrize(("has_processor", "can"), [(True, ("chat", "see", "tools")), (False, ("chat", "tools"))])
def test_a_directory_without_what_reads_images_is_one_for_text(
    tmp_path: Path, has_processor: bool, can: tuple[str, ...]
) -> None:
    write_seeing(tmp_path / "eyes", has_processor=has_processor)
    (entry,) = scan([tmp_path]).entries
    assert (entry.capabilities, entry.is_usable) == (can, True)


def test_a_config_beside_gguf_files_or_of_another_program_is_no_model(tmp_path: Path) -> None:
    for name, text in (("gguf", '{"model_type": "llama"}'), ("program", '{"port": 80}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    write_model(tmp_path / "gguf" / "a.gguf")
    assert list(named(scan([tmp_path]))) == ["a"]
    assert inspect(tmp_path / "gguf").path == str(tmp_path / "gguf" / "a.gguf")


def test_directories_of_other_layouts_are_models_and_a_pipeline_is_one(tmp_path: Path) -> None:
    pipeline = tmp_path / "painter"
    for part in ("unet", "vae"):
        (pipeline / part).mkdir(parents=True)
        (pipeline / part / "config.json").write_text("{}")
        save_file({"weight": np.zeros(1_000, np.float16)}, pipeline / part / "diffusion_pytorch_model.safetensors")
    parts = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    (pipeline / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **parts}))
    for name, files in (("ears", ("model.bin", "config.json", "vocabulary.json")), ("mouth", ("tokens.txt", "a.onnx"))):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes(bytes(100))
    found = named(scan([tmp_path], data_dir=tmp_path))
    assert {name: (entry.format, entry.capabilities) for name, entry in found.items()} == {
        "painter": ("pipeline", ("images",)),
        "ears": ("ctranslate2", ("transcribe",)),
        "mouth": ("onnx", ("speak",)),
    }
    assert (found["painter"].architecture, found["ears"].size_bytes) == ("StableDiffusionPipeline", 300)
    assert found["painter"].size_bytes > 4_000
    assert all((entry.need_bytes or 0) > 100_000_000 for entry in found.values())
    write_inventory(tmp_path / "list.json", Inventory(entries=tuple(found.values())))
    assert named(read_inventory(tmp_path / "list.json")) == found


def test_a_pipeline_without_a_component_is_an_entry_with_the_reason(tmp_path: Path) -> None:
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (entry,) = scan([tmp_path], data_dir=tmp_path).entries
    assert (entry.format, entry.is_usable) == ("pipeline", False)
    assert "the component unet is missing" in (entry.why_not or "")


def test_without_an_engine_for_it_a_hugging_face_directory_says_which_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(NANO_HF, tmp_path / "nano-hf")
    monkeypatch.setattr("modelhost.engines.installed.find_spec", lambda _: None)
    (entry,) = scan([tmp_path], data_dir=tmp_path).entries
    assert not entry.is_usable
    assert "pip install 'modelhost[" in (entry.why_not or "")


def test_damaged_files_are_entries_with_the_reason(tmp_path: Path) -> None:
    kinds = [broken for broken in broken_files() if broken.kind not in {"missing", "directory"}]
    for broken in kinds:
        broken.write(tmp_path / f"{broken.kind}.gguf")
    found = named(scan([tmp_path]))
    assert len(found) == len(kinds)
    for broken in kinds:
        entry = found[broken.kind]
        assert not entry.is_usable
        assert broken.says in (entry.why_not or "")


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    model = write_model(real / "a.gguf")
    (real / "loop").symlink_to(tmp_path)
    (tmp_path / "again.gguf").symlink_to(model)
    (tmp_path / "dangling.gguf").symlink_to(tmp_path / "nothing")
    found = scan([tmp_path, real])
    assert len(found.entries) == 1
    assert any("dangling.gguf" in problem for problem in found.problems)


def test_hidden_names_are_left_out(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    write_model(tmp_path / ".hidden" / "a.gguf")
    write_model(tmp_path / ".b.gguf")
    assert scan([tmp_path]).entries == ()


def test_progress_counts_the_models(tmp_path: Path) -> None:
    write_model(tmp_path / "a.gguf")
    write_model(tmp_path / "b.gguf")
    seen: list[tuple[int, int, str]] = []
    scan([tmp_path], on_progress=lambda *step: seen.append(step))
    assert seen == [(0, 2, "a.gguf"), (1, 2, "b.gguf"), (2, 2, "")]


def test_memory_is_estimated_at_the_wanted_context(tmp_path: Path) -> None:
    write_model(tmp_path / "a.gguf")
    (short,) = scan([tmp_path], context_length=256).entries
    (long,) = scan([tmp_path], context_length=8192).entries
    assert (short.estimate_context, long.estimate_context) == (256, 8192)
    assert (short.need_bytes or 0) < (long.need_bytes or 0)


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing, match="no such directory"):
        scan([tmp_path / "nowhere"])


@pytest.mark.promise("mistralrs.models.smallest")
def test_the_smallest_is_a_usable_chat_model(tmp_path: Path) -> None:
    write_model(tmp_path / "large.gguf", blocks=8)
    write_model(tmp_path / "small.gguf", blocks=2)
    write_embedding_model(tmp_path / "vectors.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    assert smallest(scan([tmp_path])).name == "small"
    with pytest.raises(ModelFileMissing, match="none of the 0 models"):
        smallest(Inventory(entries=()))


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    models = tmp_path / "models"
    models.mkdir()
    write_model(models / "a.gguf")
    (models / "broken.gguf").write_bytes(b"GGUF")
    return replace(scan([models]), problems=("somewhere: Permission denied",))


def test_what_was_written_is_read_back(tmp_path: Path, inventory: Inventory) -> None:
    path = tmp_path / "MODEL_INVENTORY.json"
    path.write_text("old")
    write_inventory(path, inventory)
    assert read_inventory(path) == inventory
    assert sorted(file.name for file in tmp_path.iterdir()) == ["MODEL_INVENTORY.json", "models"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, inventory: Inventory) -> None:
    with pytest.raises(ConfigError, match="name another --output"):
        write_inventory(tmp_path / "nowhere" / "x.json", inventory)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 99}, "a newer modelhost wrote it"),
        ({"version": 0}, "version 0, and 1 is known"),
        ({"extra": 1}, 'unknown key "extra"'),
        ({"models": [{"name": "x"}]}, "damaged"),
        ({"models": [{"nmae": "x"}]}, 'unknown key "nmae"'),
        ({"models": 5}, "damaged"),
        ({"directories": 5}, "lists of text"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_way_out(
    tmp_path: Path, inventory: Inventory, change: dict[str, object], says: str
) -> None:
    path = tmp_path / "inventory.json"
    write_inventory(path, inventory)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=says) as caught:
        read_inventory(path)
    assert "modelhost models scan DIR" in caught.value.message


@pytest.mark.parametrize("content", ["{", "5", "[]", '{"models": [{"name": "x"}]}', '{"models": {}}'])
def test_what_is_no_inventory_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "inventory.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="modelhost models scan DIR"):
        read_inventory(path)


def test_a_missing_inventory_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="modelhost models scan DIR"):
        read_inventory(tmp_path / "MODEL_INVENTORY.json")


@pytest.mark.promise("mistralrs.models.inventory")
@pytest.mark.parametrize("wrap", [lambda models: models, lambda models: {"generated": "2025-10-01", "models": models}])
def test_a_list_of_another_tool_is_read_by_its_paths(tmp_path: Path, wrap: object) -> None:
    write_model(tmp_path / "a.gguf")
    models = [{"name": "A", "path": "a.gguf", "size_gb": 0.94}, {"name": "B", "full_path": str(tmp_path / "gone.gguf")}]
    path = tmp_path / "MODEL_INVENTORY.json"
    assert callable(wrap)
    path.write_text(json.dumps(wrap(models)))
    found = read_inventory(path)
    assert [entry.is_usable for entry in found.entries] == [True, False]
    assert smallest(found).path == str(tmp_path / "a.gguf")

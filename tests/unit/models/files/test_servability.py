"""What an engine refuses, and with which models it takes images, by the files of a directory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelhost.models.files.hf_directory import describes_model, read_hf_directory
from modelhost.models.files.servability import takes_images, why_not_served
from tests.support.nano_hf import NANO_HF
from tests.support.unservable import copy_of_nano, without_tokenizer, write_seeing


@pytest.mark.parametrize(
    ("model_type", "has_processor", "engines"),
    [
        ("llava", True, {"transformers", "vllm"}),
        ("llava", False, set()),
        ("qwen2_vl", True, {"vllm"}),
    ],
)
def test_images_are_taken_by_engines_that_know_the_kind_if_a_file_says_how(
    tmp_path: Path, model_type: str, has_processor: bool, engines: set[str]
) -> None:
    model = read_hf_directory(write_seeing(tmp_path / "model", model_type, has_processor=has_processor))
    assert {engine for engine in ("transformers", "mlx", "vllm") if takes_images(model, engine)} == engines


def test_a_model_for_text_takes_no_images(tmp_path: Path) -> None:
    folder = copy_of_nano(tmp_path / "model")
    (folder / "preprocessor_config.json").write_text("{}")
    assert not any(takes_images(read_hf_directory(folder), engine) for engine in ("transformers", "mlx", "vllm"))


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer.model", "tokenizer.model.v3", "vocab.json", "vocab.txt", "tekken.json", "spiece.model"),
        *("qwen.tiktoken", "sentencepiece.bpe.model"),
    ],
)
def test_any_file_with_a_vocabulary_is_one(tmp_path: Path, name: str) -> None:
    folder = without_tokenizer(tmp_path / "model")
    assert not read_hf_directory(folder).has_tokenizer
    (folder / name).write_text("{}")
    assert read_hf_directory(folder).has_tokenizer


@pytest.mark.parametrize(
    ("config", "has_tokenizer"),
    [({"tokenizer_class": "ByT5Tokenizer"}, True), ({"auto_map": {}}, True), ({"tokenizer_class": "Llama"}, False)],
)
def test_a_tokenizer_may_need_no_vocabulary(tmp_path: Path, config: dict[str, object], has_tokenizer: bool) -> None:
    folder = without_tokenizer(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_hf_directory(folder).has_tokenizer == has_tokenizer


def test_a_link_to_nowhere_is_no_vocabulary(tmp_path: Path) -> None:
    folder = without_tokenizer(tmp_path / "model")
    (folder / "tokenizer.json").symlink_to(tmp_path / "nothing")
    assert not read_hf_directory(folder).has_tokenizer


def test_of_a_kind_nothing_is_claimed_where_the_library_cannot_be_looked_at() -> None:
    model = replace(read_hf_directory(NANO_HF), model_type="frobnicate")
    assert "the kind frobnicate" in (why_not_served(model, NANO_HF, "transformers") or "")
    assert why_not_served(model, NANO_HF, "transformers", is_in_own_python=False) is None
    assert why_not_served(replace(model, has_own_code=True), NANO_HF, "transformers") is None
    assert why_not_served(replace(model, model_type=None), NANO_HF, "transformers") is None
    assert why_not_served(model, NANO_HF, "vllm") is None


def test_models_of_other_tasks_need_no_kind_that_writes_text() -> None:
    whisper = replace(read_hf_directory(NANO_HF), model_type="whisper", families=frozenset({"whisper"}))
    assert why_not_served(whisper, NANO_HF, "transformers") is None
    assert why_not_served(replace(whisper, has_tokenizer=False), NANO_HF, "transformers") is None


@pytest.mark.parametrize(
    ("text", "is_of_model"),
    [('{"model_type": "llama"}', True), ('{"architectures": []}', True), ('{"port": 1}', False), ("{", False)],
)
def test_a_config_is_that_of_a_model_by_its_keys(tmp_path: Path, text: str, is_of_model: bool) -> None:
    assert not describes_model(tmp_path)
    (tmp_path / "config.json").write_text(text)
    assert describes_model(tmp_path) == is_of_model

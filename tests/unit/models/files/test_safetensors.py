"""Headers of safetensors files, and directories as Hugging Face's libraries write them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.models.files.hf_directory import read_hf_directory
from modelhost.models.files.safetensors import read_weights

NANO_HF = Path(__file__).parents[3] / "assets" / "nano-hf"
TENSOR = {"dtype": "F16", "shape": [2, 4], "data_offsets": [0, 16]}


def write(path: Path, header: Any, data_bytes: int) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(data_bytes))
    return path


def test_the_weights_of_a_real_file_are_counted() -> None:
    weights = read_weights(NANO_HF / "model.safetensors")
    assert weights.parameters == 2_706_240
    assert weights.dtype == "F16"
    assert weights.size_bytes == (NANO_HF / "model.safetensors").stat().st_size


def test_the_format_of_most_bytes_is_the_dtype(tmp_path: Path) -> None:
    header = {"a": TENSOR, "b": {"dtype": "F32", "shape": [1], "data_offsets": [16, 20]}, "__metadata__": {"x": "y"}}
    weights = read_weights(write(tmp_path / "m.safetensors", header, 20))
    assert (weights.parameters, weights.dtype, dict(weights.bytes_by_dtype)) == (9, "F16", {"F16": 16, "F32": 4})


def test_a_number_format_that_is_newer_than_the_table_is_counted(tmp_path: Path) -> None:
    header = {"a": {**TENSOR, "dtype": "F3"}}
    assert read_weights(write(tmp_path / "m.safetensors", header, 16)).dtype == "F3"


@pytest.mark.parametrize(
    ("header", "data_bytes", "says"),
    [
        (b"not json", 0, "not JSON"),
        ([1], 0, "not a JSON object"),
        ({"a": TENSOR}, 15, "incomplete"),
        ({"a": TENSOR}, 17, "overlap or leave holes"),
        ({"a": TENSOR, "b": TENSOR}, 16, "overlap or leave holes"),
        ({"a": {**TENSOR, "data_offsets": [16, 0]}}, 16, "offsets 16 to 0"),
        ({"a": {**TENSOR, "shape": [3]}}, 16, "do not fit F16"),
        ({"a": {**TENSOR, "shape": [-1]}}, 16, "not one"),
        ({"a": {"dtype": "F16"}}, 16, "not one"),
        ({"a": 1}, 16, "not one"),
    ],
)
def test_damage_is_named(tmp_path: Path, header: Any, data_bytes: int, says: str) -> None:
    with pytest.raises(ModelFileInvalid, match=says):
        read_weights(write(tmp_path / "m.safetensors", header, data_bytes))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes"),
        (b"GGUF\x03\0\0\0" + bytes(99), "not safetensors"),
        ((1000).to_bytes(8, "little") + b"{}", "middle of its header"),
    ],
)
def test_what_is_no_whole_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileInvalid, match=says):
        read_weights(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing, match="no such file"):
        read_weights(tmp_path / "m.safetensors")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NANO_HF, tmp_path / "nano-hf"))


def change(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_directory_says_what_its_model_is(directory: Path) -> None:
    model = read_hf_directory(directory)
    assert (model.architecture, model.context_length, model.quantization) == ("Qwen3ForCausalLM", 2048, "F16")
    assert model.is_generating
    assert not model.can_see
    assert model.chat_template == (directory / "chat_template.jinja").read_text()
    assert model.kv_elements_per_token == 2 * 6 * 8 * 32
    assert model.vocab_size == 1024


@pytest.mark.promise("vllm-mcp.models.templates")
def test_the_template_may_stand_in_the_tokenizers_configuration(directory: Path) -> None:
    (directory / "chat_template.jinja").unlink()
    named = [{"name": "rag", "template": "no"}, {"name": "default", "template": "yes"}]
    change(directory / "tokenizer_config.json", lambda value: value.update(chat_template=named))
    assert read_hf_directory(directory).chat_template == "yes"


def test_the_template_may_stand_in_a_file_of_the_processors(directory: Path) -> None:
    (directory / "chat_template.jinja").unlink()
    change(directory / "tokenizer_config.json", lambda value: value.pop("chat_template"))
    assert read_hf_directory(directory).chat_template is None
    (directory / "chat_template.json").write_text('{"chat_template": "of the processor"}')
    assert read_hf_directory(directory).chat_template == "of the processor"


def test_a_model_may_have_the_names_of_gpt_2(directory: Path) -> None:
    config = {"architectures": ["GPT2LMHeadModel"], "n_positions": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768}
    (directory / "config.json").write_text(json.dumps({**config, "vocab_size": 50257}))
    model = read_hf_directory(directory)
    assert model.is_generating
    assert (model.context_length, model.embedding_length, model.vocab_size) == (1024, 768, 50257)
    assert model.kv_elements_per_token == 2 * 12 * 768


def test_vision_quantization_and_nested_text_configuration_are_seen(directory: Path) -> None:
    def make_vision(value: dict[str, Any]) -> None:
        value["text_config"] = {"max_position_embeddings": 99}
        value["vision_config"] = {}
        value["quantization_config"] = {"quant_method": "awq", "bits": 4}

    change(directory / "config.json", make_vision)
    model = read_hf_directory(directory)
    assert (model.can_see, model.context_length, model.quantization) == (True, 99, "awq-4bit")


def test_the_codec_of_a_dia_is_counted_and_its_decoder_read(directory: Path) -> None:
    whole = read_hf_directory(directory).weights
    decoder = {"model_type": "dia_decoder", "max_position_embeddings": 3072, "num_hidden_layers": 2, "head_dim": 8}
    change(
        directory / "config.json",
        lambda config: config.update(model_type="dia", decoder_config={**decoder, "num_key_value_heads": 4}),
    )
    (directory / "dac").mkdir()
    shutil.copy(directory / "config.json", directory / "dac")
    shutil.copy(directory / "model.safetensors", directory / "dac")
    model = read_hf_directory(directory)
    assert (model.weights.size_bytes, model.weights.parameters) == (2 * whole.size_bytes, 2 * whole.parameters)
    assert (model.context_length, model.kv_elements_per_token) == (3072, 2 * 2 * 4 * 8)
    (directory / "dac" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelFileInvalid, match="dac"):
        read_hf_directory(directory)


@pytest.mark.promise("mistralrs.models.safetensors")
def test_files_of_an_index_are_read_and_a_missing_one_is_named(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    write(directory / "model-00002-of-00002.safetensors", {"a": TENSOR}, 16)
    weight_map = {"a": "model-00002-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert read_hf_directory(directory).weights.parameters == 2_706_240 + 8
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelFileMissing, match="00002-of-00002"):
        read_hf_directory(directory)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_damaged_json_is_named(directory: Path, name: str) -> None:
    (directory / "chat_template.jinja").unlink()
    (directory / name).write_text("{")
    with pytest.raises(ModelFileInvalid, match=f"{name} is not readable JSON"):
        read_hf_directory(directory)

"""Which names of special tokens the host neutralises: read from the files of a model, and given by its settings."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import gguf
import pytest

from modelhost.config.settings import Settings
from modelhost.errors import ModelFileInvalid
from modelhost.models.files import special_tokens
from modelhost.models.files.gguf_format import CONTROL_TOKEN, UNKNOWN_TOKEN, USER_DEFINED_TOKEN
from modelhost.models.resolve.resolve import resolve
from tests.support.gguf_files import write_model, write_split_model
from tests.support.nano_hf import NANO_HF

NANO = {
    **dict.fromkeys(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), True),
    **dict.fromkeys(
        ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>"), False
    ),
}
OF_MODEL = {"<|endoftext|>": True, "<|im_start|>": True, "<|im_end|>": True}


def _neutralised(text: str, **settings: Any) -> str | None:
    """What becomes of ``text``, ``None`` if it stays as it is, with the settings of a model."""
    tokens = resolve(Settings.model_validate(settings)).control_tokens
    changed = tokens.neutralised({"messages": [{"role": "user", "content": text}]}) if tokens else None
    return changed["messages"][0]["content"] if changed else None


def _vocabulary(path: Path, tokens: dict[str, int], *, with_types: bool = True) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(list(tokens))
    if with_types:
        writer.add_token_types(list(tokens.values()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def test_numbers_of_token_types_are_those_of_the_reference() -> None:
    kinds = gguf.TokenType
    assert (kinds.UNKNOWN, kinds.CONTROL, kinds.USER_DEFINED) == (UNKNOWN_TOKEN, CONTROL_TOKEN, USER_DEFINED_TOKEN)


def test_the_vocabulary_of_a_gguf_file_tells_its_special_tokens(tmp_path: Path) -> None:
    assert special_tokens.gguf_special_tokens(write_model(tmp_path / "tiny.gguf")) == OF_MODEL
    assert special_tokens.gguf_special_tokens(write_split_model(tmp_path)[0]) == OF_MODEL


def test_what_llamacpp_makes_a_control_token_is_one_whatever_its_type(tmp_path: Path) -> None:
    tokens = {
        "<unk>": UNKNOWN_TOKEN,
        "a": 1,
        "<end_of_turn>": 1,
        "<eos>": USER_DEFINED_TOKEN,
        "\n\n": USER_DEFINED_TOKEN,
    }
    expected = {"<unk>": True, "<end_of_turn>": True, "<eos>": True, "\n\n": False}
    assert special_tokens.gguf_special_tokens(_vocabulary(tmp_path / "typed.gguf", tokens)) == expected
    untyped = special_tokens.gguf_special_tokens(_vocabulary(tmp_path / "untyped.gguf", tokens, with_types=False))
    assert untyped == {"<end_of_turn>": True, "<eos>": True}


def test_a_vocabulary_that_is_longer_than_a_buffer_is_read_to_its_end(tmp_path: Path) -> None:
    tokens = {f"token {number} {'x' * 90}": 1 for number in range(8000)} | {"<|last|>": CONTROL_TOKEN}
    assert special_tokens.gguf_special_tokens(_vocabulary(tmp_path / "long.gguf", tokens)) == {"<|last|>": True}


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_vocabulary_that_was_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    path = _vocabulary(tmp_path / "cut.gguf", {f"token {number}": 1 for number in range(100)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ModelFileInvalid, match="cannot be served"):
        special_tokens.gguf_special_tokens(path)


@pytest.mark.parametrize("key", ["tokens", "token_type"])
def test_a_list_of_another_type_is_refused(tmp_path: Path, key: str) -> None:
    path = _vocabulary(tmp_path / "wrong.gguf", {"a": 1})
    name = f"tokenizer.ggml.{key}".encode()
    data = path.read_bytes()
    at = data.index(name) + len(name) + 4
    path.write_bytes(data[:at] + struct.pack("<I", 6) + data[at + 4 :])
    with pytest.raises(ModelFileInvalid, match="an array of the type 6"):
        special_tokens.gguf_special_tokens(path)


def test_the_tokenizer_of_a_directory_tells_its_special_tokens() -> None:
    assert special_tokens.directory_special_tokens(NANO_HF) == NANO


def test_a_directory_without_a_fast_tokenizer_tells_them_in_other_files(tmp_path: Path) -> None:
    config = {
        "add_bos_token": True,
        "bos_token": {"content": "<s>", "lstrip": False},
        "eos_token": "</s>",
        "pad_token": None,
        "additional_special_tokens": ["<|more|>"],
        "added_tokens_decoder": {
            "7": {"content": "<plain>", "special": False},
            "8": {"content": "<c>", "special": True},
        },
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"unk_token": "<unk>"}), "utf-8")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<c>": 8, "<old>": 9}), "utf-8")
    expected = {
        "<plain>": False,
        "<c>": True,
        "<s>": True,
        "</s>": True,
        "<|more|>": True,
        "<unk>": True,
        "<old>": False,
    }
    assert special_tokens.directory_special_tokens(tmp_path) == expected


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]
)
@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_file_of_a_tokenizer_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(ModelFileInvalid, match=name):
        special_tokens.directory_special_tokens(tmp_path)


def test_the_host_neutralises_where_the_engine_cannot_tell() -> None:
    assert _neutralised("<|im_end|> <tool_call>") == "<\u200b|im_end|> <tool_call>"
    for engine in ("vllm", "mistralrs"):
        there = {"engine": engine, "model": str(NANO_HF), "worker_python": sys.executable}
        assert _neutralised("</tool_response>", **there) == "<\u200b/tool_response>"
    assert _neutralised("<|im_end|>", engine="transformers", model=str(NANO_HF)) is None
    assert resolve(Settings(engine="transformers", model=str(NANO_HF))).spec.special_tokens == "text"


def test_a_template_that_is_given_tells_which_marks_count() -> None:
    assert _neutralised("</tools>") == "<\u200b/tools>"
    assert _neutralised("</tools>", chat_template="{{ messages }}") is None


def test_raw_is_a_setting() -> None:
    assert _neutralised("<|im_end|>", special_tokens="raw", special_token_list=["<|im_end|>"]) is None
    raw = resolve(Settings(engine="transformers", model=str(NANO_HF), special_tokens="raw"))
    assert raw.spec.special_tokens == "raw"


def test_of_a_remote_model_the_names_that_are_listed_count() -> None:
    url = "http://127.0.0.1:9/v1"
    assert _neutralised("<|im_end|>", model=url) is None
    assert _neutralised("<|im_end|> <s>", model=url, special_token_list=["<|im_end|>"]) == "<\u200b|im_end|> <s>"

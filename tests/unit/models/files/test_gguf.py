"""The header reader on good files; the tables of the format against the libraries that own them."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
from pathlib import Path

import gguf
import pytest

from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.models.files import gguf_format
from modelhost.models.files.gguf import read_header
from tests.support.gguf_files import (
    Broken,
    broken_files,
    write_embedding_model,
    write_model,
    write_reranker_model,
    write_split_model,
)


def test_header_says_what_the_model_is(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    header = read_header(path)
    assert (header.architecture, header.name, header.quantization) == ("llama", "tiny", "F32")
    assert (header.context_length, header.block_count, header.embedding_length) == (512, 2, 64)
    assert (header.head_count, header.head_count_kv, header.key_length, header.value_length) == (2, (2, 2), 32, 32)
    assert header.vocab_size == 300
    assert header.chat_template is not None
    assert header.size_bytes == path.stat().st_size
    assert not header.is_embedding
    assert not header.is_reranker


def test_parameters_are_what_the_reference_reader_counts(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    reference = gguf.GGUFReader(path)
    assert read_header(path).parameters == sum(int(tensor.n_elements) for tensor in reference.tensors)


def test_cache_of_a_token_is_keys_and_values_of_every_layer(tmp_path: Path) -> None:
    header = read_header(write_model(tmp_path / "tiny.gguf"))
    assert header.kv_bytes_per_token("f16") == 2 * 2 * (32 + 32) * 2
    assert header.kv_bytes_per_token("q8_0") == 2 * 2 * (32 + 32) * 34 / 32


def test_embedding_and_reranker_models_are_told_apart(tmp_path: Path) -> None:
    embedding = read_header(write_embedding_model(tmp_path / "embedding.gguf"))
    reranker = read_header(write_reranker_model(tmp_path / "reranker.gguf"))
    assert (embedding.is_embedding, embedding.is_reranker) == (True, False)
    assert (reranker.is_embedding, reranker.is_reranker) == (False, True)


@pytest.mark.parametrize("broken", [kind for kind in broken_files() if kind.kind != "directory"], ids=str)
def test_broken_file_is_refused_with_a_reason(broken: Broken, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    broken.write(path)
    with pytest.raises((ModelFileInvalid, ModelFileMissing)) as caught:
        read_header(path)
    assert broken.says in caught.value.message
    assert str(path) in caught.value.message


def test_directory_is_refused_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileInvalid, match="directory"):
        read_header(tmp_path)


def test_truncated_weights_name_both_sizes(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileInvalid, match=f"ends at {whole - 100:,} bytes, and {whole:,} are needed"):
        read_header(path)


def test_split_model_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    parts = write_split_model(tmp_path)
    single = read_header(write_model(tmp_path / "one.gguf", blocks=1))
    header = read_header(parts[0])
    assert header.files == tuple(parts)
    assert header.parameters == 3 * single.parameters
    assert header.size_bytes == sum(part.stat().st_size for part in parts)


def test_split_model_with_a_missing_part_names_it(tmp_path: Path) -> None:
    parts = write_split_model(tmp_path)
    parts[1].unlink()
    with pytest.raises(ModelFileMissing, match=parts[1].name):
        read_header(parts[0])


def test_later_part_of_a_split_model_names_the_first(tmp_path: Path) -> None:
    parts = write_split_model(tmp_path)
    with pytest.raises(ModelFileInvalid, match=parts[0].name):
        read_header(parts[1])


@pytest.mark.parametrize(("kind", "says"), [("adapter", "--lora"), ("mmproj", "mmproj"), ("imatrix", "importance")])
def test_gguf_that_is_no_model_says_what_it_is(kind: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelFileInvalid, match=says):
        read_header(path)


def test_large_vocabulary_is_passed_over_with_about_one_call_for_each_string(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    text = struct.pack("<Q", 9) + b"some-word"
    tokens, merges = text * 150_000, text * 280_000
    key = b"tokenizer.ggml.merges"
    small = write_model(path).read_bytes()
    keys = b"".join(
        struct.pack("<Q", len(name)) + name + struct.pack("<IIQ", 9, 8, count) + items
        for name, count, items in ((b"x.tokens", 150_000, tokens), (key + b"2", 280_000, merges))
    )
    count = struct.unpack_from("<Q", small, 16)[0]
    tail = small[24:]
    path.write_bytes(small[:16] + struct.pack("<Q", count + 2) + keys + tail + b"\0" * 64)
    calls = 0

    def count_calls(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count_calls)
    try:
        assert read_header(path).vocab_size == 300
    finally:
        sys.setprofile(None)
    assert calls < 1.1 * (150_000 + 280_000)  # a fraction of a second


def test_tables_agree_with_the_gguf_package() -> None:
    sizes = {int(kind): (kind.name, block, size) for kind, (block, size) in gguf.constants.GGML_QUANT_SIZES.items()}
    assert dict(gguf_format.TENSOR_TYPES) == sizes
    assert set(gguf.constants.MODEL_ARCH_NAMES.values()) <= gguf_format.ARCHITECTURES
    assert gguf_format.ENCODERS <= gguf_format.ARCHITECTURES


def test_every_architecture_of_the_installed_llama_cpp_is_known() -> None:
    spec = importlib.util.find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    library = next(Path(spec.origin).parent.glob("*.so")).read_bytes()
    start = library.index(b"llama\0deci\0")
    table = library[start : library.index(b"(unknown)", start)]
    assert {name.decode() for name in table.split(b"\0") if name} <= gguf_format.ARCHITECTURES


def test_reading_a_header_imports_no_numpy(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    code = (
        "import sys; from pathlib import Path; from modelhost.models.files.gguf import read_header;"
        f"read_header(Path({str(path)!r})); assert 'numpy' not in sys.modules and 'gguf' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

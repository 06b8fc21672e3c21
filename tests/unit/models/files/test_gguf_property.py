"""Whatever bytes a file holds, the header reader answers: a header, or one of its two errors."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.models.files.gguf import read_header
from tests.support.gguf_files import write_model

HEADER_BYTES = 24 << 10
MAX_MEMORY_BYTES = 20_000_000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("gguf") / "model.gguf")


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


def _read(path: Path, content: bytes) -> None:
    target = path.with_name("changed.gguf")
    target.write_bytes(content)
    tracemalloc.start()
    try:
        with suppress(ModelFileInvalid, ModelFileMissing):
            read_header(target)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()


@settings(max_examples=150)
@given(content=st.binary(max_size=400))
def test_random_bytes_are_refused(path: Path, content: bytes) -> None:
    _read(path, content)


@settings(max_examples=150)
@given(content=st.binary(max_size=400))
def test_random_bytes_after_a_true_beginning_are_refused(path: Path, content: bytes) -> None:
    _read(path, _content(path)[:8] + content)


@settings(max_examples=150)
@given(
    changes=st.lists(st.tuples(st.integers(0, HEADER_BYTES), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)
)
def test_changed_bytes_of_a_good_file_raise_nothing_else(path: Path, changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(_content(path))
    for offset, data in changes:
        content[offset : offset + len(data)] = data
    _read(path, bytes(content))


@settings(max_examples=100)
@given(length=st.integers(0, HEADER_BYTES))
def test_file_cut_anywhere_in_its_header_is_refused(path: Path, length: int) -> None:
    _read(path, _content(path)[:length])

"""Broken model files through the real command: a clear message, exit status 1, no process left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.support.gguf_files import Broken, broken_files, write_model
from tests.support.processes import Family, family

KINDS = {broken.kind: broken for broken in broken_files()}
# All kinds are tested on the reader of the header; here those that differ in how they come about.
SERVED = (
    "missing",
    "empty",
    "wrong-magic",
    "lfs-pointer",
    "header-cut",
    "tensors-cut",
    "zero-heads",
    "absurd-layer-count",
    "unknown-architecture",
)


def _serve_failure(path: Path) -> str:
    with family(Family.cli("serve", str(path), "--port", "0", "--threads", "1")) as started:
        status, output, log = started.result()
        assert status == 1, log
        assert output == ""
        assert started.is_gone()
        assert "Traceback" not in log
        return " ".join(log.split())


@pytest.mark.parametrize("broken", [KINDS[kind] for kind in SERVED], ids=str)
def test_a_broken_file_is_refused_with_its_reason(broken: Broken, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    broken.write(path)
    log = _serve_failure(path)
    assert broken.says in log
    assert "model.gguf" in log


def _without_tensor(path: Path, name: str) -> None:
    _rewrite(path, lambda tensor, data: None if tensor == name else data)


def _misshapen_tensor(path: Path, name: str) -> None:
    _rewrite(path, lambda tensor, data: np.zeros((8, 8), np.float32) if tensor == name else data)


def _numberless_tensor(path: Path, name: str) -> None:
    _rewrite(path, lambda tensor, data: np.full_like(data, np.nan) if tensor == name else data)


def _rewrite(path: Path, change: Callable[[str, np.ndarray], np.ndarray | None]) -> None:
    """Write the model at ``path`` anew, each tensor as ``change`` returns it; ``None`` leaves it out."""
    original = path.with_name("original.gguf")
    write_model(original)
    reader = gguf.GGUFReader(original)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == gguf.Keys.General.ARCHITECTURE:
            continue
        kind = field.types[0]
        subtype = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=subtype)
    for tensor in reader.tensors:
        data = change(tensor.name, np.array(tensor.data))
        if data is not None:
            writer.add_tensor(tensor.name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("damage", "tensor"),
    [
        (_without_tensor, "blk.1.attn_q.weight"),
        (_misshapen_tensor, "blk.0.ffn_up.weight"),
        (_numberless_tensor, "blk.1.ffn_down.weight"),
    ],
)
def test_a_file_that_only_the_engine_can_see_through_is_refused_in_the_engines_words(
    damage: Callable[[Path, str], None], tensor: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    damage(path, tensor)
    assert tensor in _serve_failure(path)


def test_weights_that_are_not_numbers_and_not_looked_at_do_not_break_the_host(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    _rewrite(path, lambda _, data: np.full_like(data, np.nan))
    env = {"MODELHOST_ENGINE_OPTIONS": "check_tensors=false"}
    with family(Family.cli("ask", "--model", str(path), "--max-tokens", "4", "Hello?", env=env)) as started:
        status, _, log = started.result()
        assert status in {0, 1}
        assert "Traceback" not in log
        assert started.is_gone()

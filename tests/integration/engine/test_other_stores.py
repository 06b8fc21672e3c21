"""A model that another program has downloaded, served by its name by the real engine."""

from __future__ import annotations

from pathlib import Path

import pytest

import modelhost
from modelhost.errors import ModelFileMissing
from modelhost.models.resolve.locate import locate
from tests.support.other_stores import write_lm_studio, write_ollama


@pytest.fixture
def content() -> bytes:
    nano = locate(None).path
    assert nano is not None
    return nano.read_bytes()


def test_a_model_of_ollama_answers_by_its_name(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    blob = write_ollama(tmp_path, "registry.ollama.ai/library/tiny/latest", content)
    with modelhost.LLM("tiny", threads=1) as llm:
        assert [model.name for model in llm.host.models] == ["tiny"]
        assert str(llm.chat("Hello!", max_tokens=8))
    assert blob.read_bytes() == content


def test_a_model_of_lm_studio_answers_by_its_name(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_lm_studio(tmp_path / ".lmstudio" / "models", "org/tiny-GGUF/tiny.gguf", content)
    with modelhost.LLM("lmstudio:org/tiny-GGUF", threads=1) as llm:
        assert str(llm.chat("Hello!", max_tokens=8))
    with pytest.raises(ModelFileMissing), modelhost.LLM("lmstudio:org/other-GGUF", threads=1):
        pass

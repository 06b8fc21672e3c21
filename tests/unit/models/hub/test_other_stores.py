"""Models in Ollama's store and in LM Studio's folder: found, called by names, served, and never written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.models.hub.other_stores import find_stored, stored_models
from modelhost.models.resolve.locate import locate, name_of
from tests.support.gguf_files import write_model
from tests.support.other_stores import write_lm_studio, write_ollama

LLAMA = "registry.ollama.ai/library/llama3.2/latest"


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return write_model(tmp_path / "tiny.gguf").read_bytes()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    return tmp_path / "home"


def test_models_of_both_are_found_and_called_as_they_are_served(home: Path, content: bytes) -> None:
    store, studio = home / ".ollama" / "models", home / ".lmstudio" / "models"
    blob = write_ollama(store, LLAMA, content)
    write_ollama(store, "registry.ollama.ai/library/llama3.2/1b", content)
    write_ollama(store, "registry.ollama.ai/someone/own/latest", content)
    write_ollama(store, "hf.co/org/model-GGUF/Q4_K_M", content)
    alone = write_lm_studio(studio, "org/One-GGUF/One-Q4_K_M.gguf", content)
    write_lm_studio(studio, "org/Two-GGUF/Two-Q4_K_M.gguf", content)
    write_lm_studio(studio, "org/Two-GGUF/Two-Q8_0.gguf", content)
    write_lm_studio(studio, "org/Two-GGUF/mmproj-f16.gguf", content)
    write_lm_studio(home / ".cache" / "lm-studio" / "models", "org/Old-GGUF/Old.gguf", content)
    names = [model.name for model in stored_models()]
    assert names == [
        *("lmstudio:org/Old-GGUF", "lmstudio:org/One-GGUF", "lmstudio:org/Two-GGUF/Two-Q4_K_M"),
        *("lmstudio:org/Two-GGUF/Two-Q8_0", "llama3.2:1b", "llama3.2:latest", "ollama:hf.co/org/model-GGUF:Q4_K_M"),
        "ollama:someone/own:latest",
    ]
    for name in names:
        located = locate(name)
        assert (located.kind, located.name) == ("gguf", name_of(name))
        assert located.header is not None
    assert locate("llama3.2").path == locate("ollama:llama3.2:latest").path == blob
    assert locate("lmstudio:org/One-GGUF").path == alone
    assert (locate("llama3.2").name, locate("ollama:llama3.2").name) == ("llama3.2", "llama3.2")


def test_the_variable_of_ollama_moves_its_store(
    tmp_path: Path, home: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ollama(home / ".ollama" / "models", LLAMA, content)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "elsewhere"))
    assert stored_models() == []
    write_ollama(tmp_path / "elsewhere", "registry.ollama.ai/library/qwen3/4b", content)
    assert [model.name for model in stored_models()] == ["qwen3:4b"]


@pytest.mark.usefixtures("home")
def test_a_name_that_no_store_has_is_missing_as_before() -> None:
    assert stored_models() == []
    for name in ("llama3.2", "llama3.2:latest", "ollama:llama3.2", "lmstudio:org/One-GGUF"):
        with pytest.raises(ModelFileMissing):
            locate(name)


def test_a_file_and_a_model_of_the_hub_go_before_a_stored_one(
    tmp_path: Path, home: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ollama(home / ".ollama" / "models", LLAMA, content)
    write_lm_studio(home / ".lmstudio" / "models", "org/One-GGUF/One.gguf", content)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama3.2").write_bytes(content)
    assert locate("llama3.2").path == Path("llama3.2")
    assert locate("org/One-GGUF").kind == "hub"
    assert find_stored("org/One-GGUF") is None


def test_what_is_incomplete_or_no_manifest_is_passed_over(home: Path, content: bytes) -> None:
    store = home / ".ollama" / "models"
    write_ollama(store, LLAMA, content).unlink()
    broken = store / "manifests" / "registry.ollama.ai" / "library" / "broken"
    broken.mkdir(parents=True)
    (broken / "latest").write_bytes(b"{")
    (broken / "list").write_bytes(b'{"layers": 3}')
    (broken / "text").write_bytes(b'["no"]')
    write_lm_studio(home / ".lmstudio" / "models", "org/Split/m-00001-of-00002.gguf", content)
    assert stored_models() == []


def test_an_adapter_is_not_left_out_in_silence(home: Path, content: bytes) -> None:
    write_ollama(home / ".ollama" / "models", LLAMA, content, layers=("model", "template", "adapter"))
    (model,) = stored_models()
    assert model.why_not is not None
    with pytest.raises(ModelFileInvalid, match="adapter"):
        locate("llama3.2")


def test_nothing_is_written_to_the_stores(home: Path, content: bytes) -> None:
    write_ollama(home / ".ollama" / "models", LLAMA, content)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    for folder in (path for path in home.rglob("*") if path.is_dir()):
        folder.chmod(0o555)
    try:
        assert locate("llama3.2").header is not None
    finally:
        for folder in (path for path in home.rglob("*") if path.is_dir()):
            folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before

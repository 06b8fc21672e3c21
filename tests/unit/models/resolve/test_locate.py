"""From what a person types to where the model is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.models.hub.references import HubReference, parse_reference
from modelhost.models.resolve.locate import BUNDLED_NAME, locate, name_of
from tests.support.gguf_files import write_model, write_split_model

NANO_HF = Path(__file__).parents[3] / "assets" / "nano-hf"


def test_file_is_served_under_its_stem(tmp_path: Path) -> None:
    path = write_model(tmp_path / "Tiny-Q4_K_M.gguf")
    located = locate(str(path))
    assert (located.kind, located.name, located.path) == ("gguf", "Tiny-Q4_K_M", path)
    assert located.header is not None


def test_directory_with_one_model_is_that_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    write_model(tmp_path / "mmproj-tiny.gguf")
    assert locate(str(tmp_path)).path == path


def test_directory_with_several_models_lists_them(tmp_path: Path) -> None:
    write_model(tmp_path / "a.gguf")
    write_model(tmp_path / "b.gguf")
    with pytest.raises(ModelFileInvalid, match=r"a\.gguf, b\.gguf"):
        locate(str(tmp_path))


def test_a_model_is_called_the_same_before_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    single, split = tmp_path / "single", tmp_path / "split"
    for directory in (single, split):
        directory.mkdir()
    file = write_model(single / "Tiny-Q4_K_M.gguf")
    parts = write_split_model(split, stem="large")
    monkeypatch.chdir(tmp_path)
    for model in (
        None,
        str(file),
        str(single),
        str(parts[1]),
        str(split),
        "org/name:q4_k_m",
        "single/Tiny-Q4_K_M.gguf",
    ):
        assert name_of(model) == locate(model).name
    for model in (None, "words.txt", str(file)):
        assert name_of(model, engine="scripted") == locate(model, engine="scripted").name


def test_what_cannot_be_served_has_a_name_too(tmp_path: Path) -> None:
    write_model(tmp_path / "a.gguf")
    write_model(tmp_path / "b.gguf")
    assert name_of(str(tmp_path)) == tmp_path.name
    assert name_of(str(tmp_path / "missing.gguf")) == "missing"
    assert name_of("/no/such/large-00002-of-00003.gguf") == "large"


def test_directory_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelFileInvalid, match="holds no GGUF file"):
        locate(str(tmp_path))


def test_split_model_is_one_model_in_a_directory_and_by_any_part(tmp_path: Path) -> None:
    parts = write_split_model(tmp_path, stem="large")
    assert locate(str(tmp_path)).path == parts[0]
    located = locate(str(parts[2]))
    assert (located.name, located.path) == ("large", parts[0])


def test_hugging_face_directory_is_a_model(tmp_path: Path) -> None:
    located = locate(str(NANO_HF))
    assert (located.kind, located.name, located.path) == ("safetensors", "nano-hf", NANO_HF)
    assert located.directory is not None
    assert located.directory.architecture == "Qwen3ForCausalLM"
    assert name_of(str(NANO_HF)) == "nano-hf"


def test_directory_with_both_formats_is_gguf_unless_the_engine_reads_the_other(tmp_path: Path) -> None:
    directory = tmp_path / "both"
    shutil.copytree(NANO_HF, directory)
    write_model(directory / "a.gguf")
    assert locate(str(directory)).kind == "gguf"
    assert locate(str(directory), engine="mlx").kind == "safetensors"


def test_an_engine_for_safetensors_wants_them_of_the_hub() -> None:
    assert locate("org/name", engine="transformers").reference == HubReference(
        repository="org/name", wanted="safetensors"
    )


@pytest.mark.parametrize(("name", "says"), [("model.safetensors", "served as a whole"), ("model.bin", "may run code")])
def test_a_file_of_weights_is_no_model(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelFileInvalid, match=says):
        locate(str(tmp_path / name))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelFileInvalid, match="may run code"):
        locate(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "repository", "wanted"),
    [
        ("Qwen/Qwen3-4B-GGUF", "Qwen/Qwen3-4B-GGUF", None),
        ("Qwen/Qwen3-4B-GGUF:q4_k_m", "Qwen/Qwen3-4B-GGUF", "q4_k_m"),
        ("org/name:sub/model.gguf", "org/name", "sub/model.gguf"),
        ("https://huggingface.co/org/name", "org/name", None),
        ("hf.co/org/name:Q8_0", "org/name", "Q8_0"),
    ],
)
def test_hub_id_is_a_reference(text: str, repository: str, wanted: str | None) -> None:
    located = locate(text, revision="v1")
    assert located.kind == "hub"
    assert located.name == repository
    assert located.reference == HubReference(repository=repository, wanted=wanted, revision="v1")


@pytest.mark.parametrize(
    ("address", "wanted", "revision"),
    [
        ("https://huggingface.co/org/name/resolve/main/x-Q4_0.gguf", "x-Q4_0.gguf", "main"),
        ("https://huggingface.co/org/name/resolve/main/sub/x.gguf?download=true", "sub/x.gguf", "main"),
        ("https://huggingface.co/org/name/blob/v1.0/x.gguf#a", "x.gguf", "v1.0"),
        ("http://hf.co/org/name/raw/main/x%2B1.gguf", "x+1.gguf", "main"),
        ("hf.co/org/name/blob/main/x.gguf", "x.gguf", "main"),
        ("https://huggingface.co/org/name/resolve/refs%2Fpr%2F1/x.gguf", "x.gguf", "refs/pr/1"),
        ("https://huggingface.co/org/name/blob/refs/pr/1/x.gguf", "x.gguf", "refs/pr/1"),
        ("https://mirror.example/hub/org/name/resolve/main/x.gguf", "x.gguf", "main"),
    ],
)
def test_the_address_of_a_file_on_the_hub_is_that_file(
    address: str, wanted: str, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/hub/")
    reference = HubReference(repository="org/name", wanted=wanted, revision=revision)
    assert parse_reference(address) == reference
    located = locate(address)
    assert (located.kind, located.name, located.reference) == ("hub", "org/name", reference)
    assert name_of(address) == "org/name"
    given = parse_reference(address, "mine")
    assert given is not None
    assert given.revision == "mine"


def test_the_oldest_models_are_known_by_their_old_names() -> None:
    assert parse_reference("gpt2") == HubReference(repository="openai-community/gpt2")
    assert parse_reference("distilgpt2", "v1") == HubReference(repository="distilbert/distilgpt2", revision="v1")


@pytest.mark.parametrize("text", ["", "name", "gpt2-tiny", "a/b/c", "a/b:", "a b/c", "-a/b", "../b"])
def test_other_text_is_no_reference(text: str) -> None:
    assert parse_reference(text) is None


def test_existing_path_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    write_model(tmp_path / "org" / "name")
    assert locate("org/name").kind == "gguf"


def test_missing_file_suggests_what_is_there(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny-model.gguf")
    with pytest.raises(ModelFileMissing, match=r"did you mean .*tiny-model\.gguf\?"):
        locate(str(tmp_path / "tiny-modle.gguf"))


def test_missing_file_below_a_directory_that_exists_is_no_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelFileMissing, match="no such file"):
        locate("models/tiny")


def test_bare_word_says_what_can_be_given() -> None:
    with pytest.raises(ModelFileMissing, match="org/name"):
        locate("no-such-model")


def test_nothing_is_the_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.models.resolve.locate.files", lambda package: tmp_path)
    with pytest.raises(ModelFileMissing, match="make nano"):
        locate(None)
    (tmp_path / "assets" / "nano").mkdir(parents=True)
    path = write_model(tmp_path / "assets" / "nano" / f"{BUNDLED_NAME}.gguf")
    located = locate(None)
    assert (located.kind, located.name, located.path) == ("bundled", BUNDLED_NAME, path)


def test_scripted_engine_needs_no_model() -> None:
    assert locate(None, engine="scripted").kind == "engine"


def test_a_voice_is_found_by_its_files_and_a_packaged_one_by_its_name(tmp_path: Path) -> None:
    for name in ("tokens.txt", "voice.onnx"):
        (tmp_path / name).touch()
    located = locate(str(tmp_path))
    assert (located.kind, located.engine, located.path) == ("layout", "speech", tmp_path)
    assert locate(str(tmp_path), engine="speech") == located
    assert name_of(str(tmp_path)) == located.name
    for model, engine in (("hibari", None), ("hibari", "speech"), (None, "speech")):
        packaged = locate(model, engine=engine)
        assert (packaged.kind, packaged.engine, packaged.path) == ("layout", "speech", None)
        assert name_of(model, engine=engine) == packaged.name == "hibari"


def test_a_voice_is_not_for_another_engine(tmp_path: Path) -> None:
    for name in ("tokens.txt", "voice.onnx"):
        (tmp_path / name).touch()
    for engine in ("llamacpp", "diffusers"):
        with pytest.raises(ModelFileInvalid, match=rf"is for the engine speech, .*; {engine} does not read it"):
            locate(str(tmp_path), engine=engine)


@pytest.mark.parametrize("engine", [None, "whisper"])
def test_a_whisper_model_without_its_vocabulary_is_told_what_it_lacks(engine: str | None, tmp_path: Path) -> None:
    for name in ("config.json", "model.bin"):
        (tmp_path / name).touch()
    with pytest.raises(ModelFileInvalid, match=r"lacks vocabulary\.json, without which whisper cannot read it"):
        locate(str(tmp_path), engine=engine)


def test_a_directory_that_two_engines_read_is_for_the_one_that_is_named(tmp_path: Path) -> None:
    for name in ("tokens.txt", "voice.onnx"):
        (tmp_path / name).touch()
    path = write_model(tmp_path / "tiny.gguf")
    assert locate(str(tmp_path), engine="llamacpp").path == path

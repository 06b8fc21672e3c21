"""Which vision encoder belongs to a model, and what is known of it before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError, ModelFileInvalid, ModelFileMissing
from modelhost.models.files.media_encoder import LIBRARY_BYTES, matching_encoder, read_media_encoder
from modelhost.models.resolve.locate import locate
from modelhost.models.resolve.resolve import resolve
from modelhost.models.resolve.resolved import Resolved
from tests.support.gguf_files import WIDTH, write_embedding_model, write_model
from tests.support.media_files import write_audio_encoder, write_empty_encoder, write_vision_encoder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "seer-3b-Q8_0.gguf")


@pytest.fixture
def encoder(model: Path) -> Path:
    return write_vision_encoder(model.with_name("mmproj-F16.gguf"), model_width=WIDTH)


def resolved(**settings: Any) -> Resolved:
    return resolve(Settings.model_validate({key: str(v) if isinstance(v, Path) else v for key, v in settings.items()}))


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ((), None),
        (("mmproj.gguf",), "mmproj.gguf"),
        (("mmproj-model-f16.gguf", "README.md"), "mmproj-model-f16.gguf"),
        (("mmproj-F32.gguf", "mmproj-F16.gguf", "mmproj-BF16.gguf"), "mmproj-F16.gguf"),
        (("seer-3b-Q4_K_M.gguf", "mmproj-F16.gguf"), "mmproj-F16.gguf"),
        (("writer-7b-Q4_K_M.gguf", "mmproj-F16.gguf"), None),
        (("writer-7b-Q4_K_M.gguf", "mmproj-writer-7b-f16.gguf"), None),
        (
            ("writer-7b-Q4_K_M.gguf", "mmproj-writer-7b-f16.gguf", "seer-3b.mmproj-Q8_0.gguf"),
            "seer-3b.mmproj-Q8_0.gguf",
        ),
        (("mmproj-eyes-F16.gguf", "mmproj-seer-3b-F32.gguf"), "mmproj-seer-3b-F32.gguf"),
        (("mmproj.txt",), None),
    ],
)
def test_the_encoder_of_a_model_is_known_by_its_name_or_by_being_the_only_one(
    others: tuple[str, ...], found: str | None
) -> None:
    assert matching_encoder("seer-3b-Q8_0.gguf", ["seer-3b-Q8_0.gguf", *others]) == found


def test_the_parts_of_a_split_model_are_one_model() -> None:
    parts = [f"seer-Q8_0-0000{part}-of-00002.gguf" for part in (1, 2)]
    assert matching_encoder(parts[0], [*parts, "mmproj-F16.gguf"]) == "mmproj-F16.gguf"


def test_an_encoder_beside_the_model_goes_with_it_and_is_not_taken_for_the_model(model: Path, encoder: Path) -> None:
    assert locate(str(model.parent)).path == model
    assert resolved(model=model.parent).spec.mmproj_path == encoder
    assert resolved(model=model).spec.mmproj_path == encoder


def test_none_serves_the_model_without(model: Path, encoder: Path) -> None:
    assert encoder.exists()
    assert resolved(model=model, mmproj="none").spec.mmproj_path is None


def test_an_encoder_that_is_named_wins(model: Path, encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    named = write_vision_encoder(tmp_path / "elsewhere" / "eyes.gguf", model_width=WIDTH)
    assert resolved(model=model, mmproj=named).spec.mmproj_path == named
    assert encoder.exists()


def test_a_model_that_makes_vectors_gets_none(tmp_path: Path) -> None:
    model = write_embedding_model(tmp_path / "embedder.gguf")
    write_vision_encoder(tmp_path / "mmproj.gguf", model_width=WIDTH)
    assert resolved(model=model).spec.mmproj_path is None


def test_a_file_that_only_hears_goes_with_its_model_and_adds_what_it_needs(model: Path) -> None:
    ears = write_audio_encoder(model.with_name("mmproj-ears.gguf"), model_width=WIDTH)
    encoder = read_media_encoder(ears)
    assert (encoder.sees, encoder.hears) == (False, True)
    assert encoder.work_bytes > 0
    assert resolved(model=model).spec.mmproj_path == ears
    assert resolved(model=model, mmproj=ears).spec.mmproj_path == ears


def test_a_file_that_does_neither_is_left_lying_and_refused_where_it_is_named(model: Path) -> None:
    empty = write_empty_encoder(model.with_name("mmproj-empty.gguf"))
    assert resolved(model=model).spec.mmproj_path is None
    with pytest.raises(ModelFileInvalid, match="neither a vision nor an audio encoder"):
        resolved(model=model, mmproj=empty)


def test_what_is_named_is_checked(model: Path) -> None:
    with pytest.raises(ModelFileMissing, match="mmproj: there is no file /no/such"):
        resolved(model=model, mmproj="/no/such.gguf")
    with pytest.raises(ModelFileInvalid, match=r"is no encoder of images or sound: give the file mmproj\*\.gguf"):
        resolved(model=model, mmproj=model)


def test_engines_without_such_files_refuse_one(model: Path, encoder: Path) -> None:
    with_script = resolved(engine="scripted", mmproj=encoder)
    with pytest.raises(ConfigError, match="mmproj_path"):
        with_script.engine.launch(with_script.spec, "key")
    assert resolved(engine="scripted", mmproj="none").spec.mmproj_path is None
    assert model.exists()


def test_it_is_part_of_the_size_and_of_the_need(model: Path, encoder: Path) -> None:
    alone, both = resolved(model=model, mmproj="none"), resolved(model=model)
    assert both.size_bytes - alone.size_bytes == encoder.stat().st_size
    more = both.need_bytes["ram"] - alone.need_bytes["ram"]
    assert more == read_media_encoder(encoder).need_bytes > encoder.stat().st_size + LIBRARY_BYTES


def test_a_gpu_takes_it_unless_no_layer_of_the_model_is_on_one(model: Path, encoder: Path) -> None:
    def need(**settings: Any) -> dict[str, int]:
        return dict(resolve(Settings(model=str(model), **settings), gpus={0: 80 * 10**9, 1: 79 * 10**9}).need_bytes)

    whole = read_media_encoder(encoder).need_bytes
    assert need()["gpu:0"] - need(mmproj="none")["gpu:0"] == whole
    assert need()["gpu:1"] == need(mmproj="none")["gpu:1"]
    assert need(gpu_layers=0)["ram"] - need(mmproj="none", gpu_layers=0)["ram"] == whole

"""The engine for transcription: what it recognises, its options and its refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.engines import ENGINES
from modelhost.engines.installed import engine_with_layout
from modelhost.engines.launch import ModelSpec
from modelhost.errors import ConfigError, InvalidAudio, RequestTooLarge

WHISPER = ENGINES["whisper"]


def test_a_model_is_known_by_its_files() -> None:
    assert engine_with_layout(["model.bin", "config.json", "vocabulary.json"]) == "whisper"
    assert engine_with_layout(["model.bin", "config.json", "vocabulary.txt", "tokenizer.json"]) == "whisper"
    assert engine_with_layout(["model.bin", "config.json"]) is None


def test_it_is_launched_with_its_options() -> None:
    launch = WHISPER.launch(ModelSpec(name="w", path=Path("/models/w"), threads=2), "key")
    assert launch.config == {
        "compute_type": "auto", "device": "auto", "max_minutes": 240,
        "name": "w", "path": "/models/w", "api_key": "key", "threads": 2,
    }  # fmt: skip


@pytest.mark.parametrize("options", [{"compute_type": "int7"}, {"device": "tpu"}, {"max_minutes": 0}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        WHISPER.launch(ModelSpec(name="w", options=options), "key")


@pytest.mark.parametrize(("kind", "error"), [("invalid_audio", InvalidAudio), ("audio_too_long", RequestTooLarge)])
def test_what_the_worker_refuses_has_a_code(kind: str, error: type[Exception]) -> None:
    found = WHISPER.translate_error(
        400, {"error": {"message": "no", "type": kind, "param": "file"}}, model="w", worker="1"
    )
    assert type(found) is error

"""The engine for speech: what it recognises, its options, and the files of each kind of voice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.engines import ENGINES
from modelhost.engines.installed import engine_with_layout, engine_with_package
from modelhost.engines.launch import ModelSpec
from modelhost.engines.load_config import LoadBaseline, LoadConfig
from modelhost.engines.speech.voices import sherpa_parts
from modelhost.errors import (
    ConfigError,
    EngineError,
    InvalidRequest,
    NothingToSpeak,
    UnsupportedParameter,
)

SPEECH = ENGINES["speech"]


def files(folder: Path, *names: str) -> Path:
    for size, name in enumerate(names):
        (folder / name).write_bytes(b"0" * size)
    return folder


def test_a_voice_is_known_by_its_files() -> None:
    assert engine_with_layout(["tokens.txt", "model.onnx", "lexicon.txt"]) == "speech"
    assert engine_with_layout(["tokens.txt"]) is None
    assert engine_with_layout(["model.onnx", "config.json", "model.safetensors"]) is None


def test_a_voice_in_a_package_has_a_name() -> None:
    assert engine_with_package("hibari") == "speech"
    assert engine_with_package(None, "speech") == "speech"
    assert engine_with_package("hibari", "llamacpp") is None
    assert engine_with_package(None) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("tokens.txt", "lexicon.txt", "ljs.onnx"), {"kind": "vits", "model": "ljs.onnx", "lexicon": "lexicon.txt"}),
        (
            ("tokens.txt", "vocos-22khz.onnx", "model-steps-3.onnx"),
            {"kind": "matcha", "acoustic_model": "model-steps-3.onnx", "vocoder": "vocos-22khz.onnx"},
        ),
        (("tokens.txt", "voices.bin", "m.onnx"), {"kind": "kokoro", "model": "m.onnx", "voices": "voices.bin"}),
        (
            ("tokens.txt", "voices.bin", "kitten.onnx"),
            {"kind": "kitten", "model": "kitten.onnx", "voices": "voices.bin"},
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_the_kind_follows_from_the_files(names: tuple[str, ...], expected: dict[str, str], tmp_path: Path) -> None:
    found = sherpa_parts(files(tmp_path, *names), "auto")
    named = {name: value if name == "kind" else Path(value).name for name, value in found.items()}
    assert named == {"tokens": "tokens.txt", **expected}


@pytest.mark.parametrize(("kind", "missing"), [("matcha", "vocoder"), ("kokoro", "voices.bin")])
def test_a_kind_without_its_files_is_refused(kind: str, missing: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=missing):
        sherpa_parts(files(tmp_path, "tokens.txt", "m.onnx"), kind)


def test_it_is_launched_with_its_options_and_threads() -> None:
    launch = SPEECH.launch(ModelSpec(name="tts", threads=3, options={"voices": {"alloy": 1}}), "key")
    config = {"kind": "auto", "voices": {"alloy": 1}, "name": "tts", "path": None, "api_key": "key", "threads": 3}
    assert launch.config == config
    assert launch.argv[1:] == ("-m", "modelhost.engines.speech.worker")
    assert launch.env["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    "options",
    [{"kind": "bark"}, {"voices": {}}, {"voices": {"a": -1}}, {"voices": {"a": True}}, {"voices": "a"}, {"x": 1}],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        SPEECH.launch(ModelSpec(name="tts", options=options), "key")
    assert SPEECH.accept({"engine_options": options}).problems


def test_settings_of_models_that_write_are_refused() -> None:
    with pytest.raises(ConfigError, match="chat_template: speech cannot do that"):
        SPEECH.launch(ModelSpec(name="tts", chat_template="{{ x }}"), "key")
    accepted = SPEECH.accept({"threads": 2, "context_length": 100})
    assert accepted.settings == {"threads": 2}
    assert accepted.problems == ('"params.context_length" is not for speech: its models are not for chats',)
    baseline = LoadBaseline(spec=ModelSpec(name="tts"))
    assert SPEECH.configure_load(LoadConfig(dtype="float16"), baseline).problems


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("nothing_to_speak", NothingToSpeak),
        ("unsupported_parameter", UnsupportedParameter),
        ("invalid_request_error", InvalidRequest),
    ],
)
def test_what_the_worker_refuses_has_a_code(kind: str, error: type[Exception]) -> None:
    payload = {"error": {"message": "no", "type": kind, "param": "input"}}
    found = SPEECH.translate_error(400, payload, model="tts", worker="tts/1")
    assert (type(found), found.message, found.param) == (error, "no", "input")


def test_what_fails_in_the_worker_is_its_error() -> None:
    found = SPEECH.translate_error(500, "broken", model="tts", worker="tts/1")
    assert isinstance(found, EngineError)
    assert "answered 500" in found.message

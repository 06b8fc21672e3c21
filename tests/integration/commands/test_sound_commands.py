"""``modelhost speak`` and ``modelhost transcribe``, with the scripted engine: words in place of audio."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelhost.cli.main import app, main
from modelhost.cli.running_host import RunningHost
from tests.support.serving import ServedHost
from tests.support.surroundings import leave_surroundings

HEAD = b"RIFF\0\0\0\0WAVE"
TEXT = "/echo one two three"


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leave_surroundings(monkeypatch, tmp_path)


@pytest.fixture
def sound(tmp_path: Path) -> str:
    path = tmp_path / "sound.wav"
    path.write_bytes(HEAD + TEXT.encode())
    return str(path)


@pytest.mark.parametrize(
    ("options", "file"),
    [
        ([], "speech.mp3"),
        (["--format", "wav"], "speech.wav"),
        (["-o", "said.OGG", "--voice", "two", "--speed", "1.5"], "said.OGG"),
        (["-o", "said", "--format", "flac", "--model", "scripted"], "said"),
    ],
)
def test_the_audio_is_in_the_file(options: list[str], file: str, scripted_host: ServedHost, tmp_path: Path) -> None:
    assert main(["speak", TEXT, "--url", scripted_host.url, *options]) == 0
    assert (tmp_path / file).read_bytes() == b"one two three"


def test_piped_text_is_spoken_to_standard_output(scripted_host: ServedHost) -> None:
    result = CliRunner().invoke(app, ["speak", "-", "-o", "-", "--url", scripted_host.url], input=f"{TEXT}\n")
    assert (result.exit_code, result.stdout) == (0, "one two three")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Hello", "-o", "said.doc"], "add --format"),
        (["  "], "the text is empty"),
        (["Hello", "--speed", "5"], "or equal to 4"),
        (["Hello", "-o", "none/said.mp3"], "there is no directory none"),
    ],
)
def test_what_cannot_be_spoken_is_a_usage_error(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["speak", *arguments])
    assert result.exit_code == 2
    assert says in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_middle_of_the_audio_leaves_the_file_as_it_was(
    start_host: Callable[..., ServedHost], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "said.wav").write_bytes(b"before")
    host = start_host(engine="scripted")
    assert main(["speak", "/crash 1 one two", "-o", "said.wav", "--url", host.url]) == 1
    assert "error: " in capsys.readouterr().err
    assert (tmp_path / "said.wav").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("form", "printed"),
    [
        ("text", "one two three\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,000\none\n\n2\n00:00:01,000 --> 00:00:02,000\ntwo\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\none\n"),
    ],
)
def test_a_transcript_is_printed_in_its_format(
    form: str, printed: str, sound: str, scripted_host: ServedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", sound, "--format", form, "--url", scripted_host.url]) == 0
    assert capsys.readouterr().out.startswith(printed)


def test_json_has_language_length_and_times(
    sound: str, scripted_host: ServedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", sound, "--format", "json", "--language", "de", "--url", scripted_host.url]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["language"], found["duration"], found["text"]) == ("de", 3.0, "one two three")
    assert found["segments"][1] == {"start": 1.0, "end": 2.0, "text": "two"}


def test_progress_is_the_part_of_the_sound_that_is_done(sound: str, scripted_host: ServedHost) -> None:
    seen: list[float | None] = []
    host = RunningHost(scripted_host.url)
    host.transcribe(Path(sound).read_bytes(), {}, lambda progress: seen.append(progress.fraction))
    assert seen == [1 / 3, 2 / 3, 1.0]


def test_a_refusal_says_what_installs_an_engine(
    sound: str, nano_host: ServedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", sound, "--url", nano_host.url]) == 1
    assert "modelhost engines install whisper" in capsys.readouterr().err
    assert main(["speak", "Hello", "--url", nano_host.url]) == 1
    assert "modelhost engines install speech --voice hibari" in capsys.readouterr().err


def test_a_file_without_sound_is_an_error_of_the_host(
    scripted_host: ServedHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("no sound")
    assert main(["transcribe", "notes.txt", "--url", scripted_host.url]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_without_a_host_the_command_starts_one(
    sound: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MODELHOST_ENGINE", "scripted")
    monkeypatch.setenv("MODELHOST_DATA_DIR", str(tmp_path / "data"))
    assert main(["transcribe", sound, "--format", "json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["language"], found["duration"], found["text"]) == ("en", 3.0, "one two three")
    assert "no host is running" in printed.err
    assert main(["speak", TEXT, "--model", "scripted", "-o", "said.pcm"]) == 0
    assert (tmp_path / "said.pcm").read_bytes() == b"one two three"


def test_what_is_piped_in_and_is_not_utf_8_is_refused(scripted_host: ServedHost) -> None:
    result = CliRunner().invoke(app, ["speak", "-", "-o", "-", "--url", scripted_host.url], input=b"\xff\xfe")
    assert result.exit_code == 2
    assert "not UTF-8" in result.output

"""``modelhost image``, with the scripted engine, whose images are words behind the signature of their format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelhost.cli.main import app, main
from tests.support.serving import ServedHost
from tests.support.surroundings import leave_surroundings

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
PROMPT = "/echo one two"


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leave_surroundings(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ([], {"image.png": PNG + b"one two"}),
        (["-o", "a.JPG", "--size", "64x128", "--steps", "3", "--seed", "1"], {"a.JPG": JPEG + b"one two"}),
        (
            ["-o", "b.png", "-n", "2", "--negative", "dogs"],
            {"b-1.png": PNG + b"one two", "b-2.png": PNG + b"one two 1"},
        ),
    ],
)
def test_each_image_is_in_its_file(
    options: list[str], files: dict[str, bytes], scripted_host: ServedHost, tmp_path: Path
) -> None:
    assert main(["image", PROMPT, "--url", scripted_host.url, *options]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_an_image_is_edited(scripted_host: ServedHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.png").write_bytes(PNG)
    edit = ["--image", "in.png", "--mask", "in.png", "--strength", "0.5", "--seed", "7"]
    assert main(["image", PROMPT, "--url", scripted_host.url, *edit]) == 0
    assert (tmp_path / "image.png").read_bytes() == PNG + b"one two"
    assert "image.png: 15 bytes, seed 7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a cat", "-o", "a.gif"], "that of no format"),
        (["  "], "the prompt is empty"),
        (["a cat", "--strength", "0.5"], "are for an --image"),
        (["a cat", "-n", "11"], "or equal to 10"),
    ],
)
def test_what_cannot_be_made_is_a_usage_error(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["image", *arguments])
    assert result.exit_code == 2
    assert says in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_file_as_it_was(
    start_host: Callable[..., ServedHost], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "image.png").write_bytes(b"before")
    host = start_host(engine="scripted")
    assert main(["image", "/crash 1 /echo one two", "--url", host.url]) == 1
    assert "error: " in capsys.readouterr().err
    assert (tmp_path / "image.png").read_bytes() == b"before"


def test_without_a_host_the_command_starts_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELHOST_ENGINE", "scripted")
    monkeypatch.setenv("MODELHOST_DATA_DIR", str(tmp_path / "data"))
    assert main(["image", PROMPT]) == 0
    assert (tmp_path / "image.png").read_bytes() == PNG + b"one two"


def test_a_refusal_says_what_installs_an_engine(nano_host: ServedHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "a cat", "--url", nano_host.url]) == 1
    assert "modelhost engines install diffusers" in capsys.readouterr().err

"""``modelhost image``, with the scripted engine, whose images are words behind the signature of their format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelhost.cli.main import app, main
from modelhost.cli.running_host import RunningHost
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
        (["a cat", "-o", "none/a.png"], "there is no directory none"),
    ],
)
def test_what_cannot_be_made_is_a_usage_error(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["image", *arguments])
    assert result.exit_code == 2
    assert says in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_the_place_of_a_file_is_noticed_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a-2.png").mkdir()
    result = CliRunner().invoke(app, ["image", "a cat", "-o", "a.png", "-n", "2"])
    assert (result.exit_code, [path.name for path in tmp_path.iterdir()]) == (2, ["a-2.png"])
    assert "a-2.png is a directory" in result.output


def test_a_prompt_may_be_piped_in(scripted_host: ServedHost, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["image", "-", "--url", scripted_host.url], input=f"{PROMPT}\n")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "image.png").read_bytes() == PNG + b"one two"


def test_each_image_is_handed_over_before_the_next_one(scripted_host: ServedHost) -> None:
    seen: list[str] = []
    body = {"prompt": PROMPT, "n": 2, "seed": 7}
    RunningHost(scripted_host.url).paint(
        body, lambda step: seen.append(step.message), lambda picture: seen.append(f"seed {picture.seed}")
    )
    steps = [[f"step {step}/2 of image {image}" for step in range(3)] for image in (1, 2)]
    assert seen == [*steps[0], "seed 7", *steps[1], "seed 8"]


@pytest.mark.parametrize("is_own", [False, True])
def test_the_images_before_a_failure_are_kept(
    is_own: bool,
    scripted_host: ServedHost,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if is_own:
        monkeypatch.setenv("MODELHOST_ENGINE", "scripted")
        monkeypatch.setenv("MODELHOST_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "a-2.png").symlink_to("none/a.png")
    assert main(["image", PROMPT, "-o", "a.png", "-n", "2", *([] if is_own else ["--url", scripted_host.url])]) == 1
    assert (tmp_path / "a-1.png").read_bytes() == PNG + b"one two"
    told = capsys.readouterr().err
    assert "a-1.png: 15 bytes, seed" in told
    assert "The operating system refused a-2.png" in told


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

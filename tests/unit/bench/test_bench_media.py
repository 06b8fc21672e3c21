"""The rows of speech, transcription and images: their arithmetic and judgement on made-up figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from bench import images
from bench.__main__ import main
from bench.bare_library import FIRST, WHOLE
from bench.figures import CONTROL_EVENTS, Seen
from bench.images import ImageCosts, images_checks, images_json, images_table
from bench.media import ENVIRONMENT, MediaCost, media_checks, media_json, media_table


def cost(first: float = 0.01, whole: float = 0.01, name: str = "speech (hibari)") -> MediaCost:
    """The host takes ``first`` and ``whole`` seconds longer, apart from one pair."""
    library = ({FIRST: 0.1, WHOLE: 1.0}, {FIRST: 0.2, WHOLE: 1.2}, {FIRST: 0.1, WHOLE: 1.0})
    added = ((first, whole), (first, whole), (5.0, 5.0))
    host = tuple(
        {FIRST: here[FIRST] + one, WHOLE: here[WHOLE] + two} for here, (one, two) in zip(library, added, strict=True)
    )
    return MediaCost(name=name, audio_seconds=12.0, library=library, host=host)


def test_what_is_added_is_the_median_of_the_pairs() -> None:
    assert cost(first=0.004).added(FIRST) == pytest.approx(0.004)
    assert cost(whole=0.02).added_per_minute == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (cost(), []),
        (cost(first=0.1), ["added to the first audio byte"]),
        (cost(whole=0.1), ["added per minute of audio"]),
        (cost(first=0.1, whole=0.1, name="transcription (Whisper base)"), ["added per minute of audio"]),
    ],
)
def test_each_figure_has_its_target(found: MediaCost, missed: list[str]) -> None:
    assert [check.what for _, check in media_checks([found]) if not check.is_reached] == missed


def test_report_and_json_show_every_row() -> None:
    console = Console(width=150)
    with console.capture() as capture:
        console.print(media_table([cost(), cost(name="transcription (Whisper base)")]))
    for row in ("speech (hibari), first audio byte", "speech (hibari), whole", "transcription (Whisper base), whole"):
        assert row in capture.get()
    assert json.loads(json.dumps(media_json([cost()])))["media"][0]["audio_seconds"] == 12.0
    assert media_json([]) == {"media": [], "media_targets": []}


def image_costs(added: float = 0.01, library: float = 1.0, beside: int = 195) -> ImageCosts:
    """The host takes ``added`` seconds longer; chats get 200 tokens a second alone."""
    return ImageCosts(
        library=({WHOLE: library},) * 3,
        host=({WHOLE: library + added}, {WHOLE: library + added}, {WHOLE: 9.0}),
        alone=(seen(200), seen(200)),
        beside=(seen(beside), seen(beside)),
        images_beside=7,
    )


def seen(events: int) -> Seen:
    """So many tokens in a second."""
    return Seen(
        requests=4,
        events=events + CONTROL_EVENTS * 4,
        seconds=1.0,
        first_token_p50=0.1,
        first_token_p95=0.1,
        first_token_p99=0.1,
        between_p50=0.02,
        between_p95=0.02,
        client_cpu_seconds=0.1,
    )


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (image_costs(), []),
        (image_costs(added=0.04), []),  # a small share of a second
        (image_costs(added=0.04, library=0.5), ["added to an image"]),
        (image_costs(beside=100), ["pace, beside images over alone"]),
    ],
)
def test_images_have_targets(found: ImageCosts, missed: list[str]) -> None:
    assert [check.what for _, check in images_checks(found) if not check.is_reached] == missed


def test_the_report_of_images_has_what_is_added_and_the_pace_of_chats() -> None:
    console = Console(width=150)
    with console.capture() as capture:
        console.print(images_table(image_costs()))
    for shown in ("10.0", "1.0%", "beside 7 images", "0.9"):
        assert shown in capture.get()
    assert json.loads(json.dumps(images_json(image_costs())))["images"]["added_seconds"] == pytest.approx(0.01)
    assert images_json(None) == {}
    assert images_checks(None) == []


def test_without_weights_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in (ENVIRONMENT, images.ENVIRONMENT):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    main(["--only", "media", "--output", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "media: there are no weights; `make test-media` installs them" in shown
    assert "media: there is no engine for images; `make test-images` installs it" in shown

"""The rows of speech and transcription: their arithmetic and judgement on made-up figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import main
from bench.media import ENVIRONMENT, FIRST, WHOLE, MediaCost, media_checks, media_json, media_table


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


def test_without_weights_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "none"))
    main(["--only", "media", "--output", str(tmp_path / "out")])
    assert "media: there are no weights; `make test-media` installs them" in capsys.readouterr().out

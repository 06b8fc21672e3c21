"""How a download is shown where there is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from modelhost.cli.starting import StartDisplay
from modelhost.models.hub.progress import FileProgress


def _step(done: int, part: int = 1, parts: int = 1) -> FileProgress:
    return FileProgress(file="m.gguf", done_bytes=done, total_bytes=1000, part=part, parts=parts)


def test_without_a_terminal_each_tenth_is_one_line() -> None:
    stream = io.StringIO()
    display = StartDisplay(Console(file=stream))
    for done in range(0, 1001, 10):
        display.downloading(_step(done))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("downloading m.gguf: 0 %")
    assert "100 %" in lines[-1]


def test_a_part_of_a_split_model_says_which_part_it_is() -> None:
    stream = io.StringIO()
    StartDisplay(Console(file=stream)).downloading(_step(1000, part=2, parts=3))
    assert "m.gguf (2 of 3): 100 %" in stream.getvalue()


def test_terminal_gets_a_bar() -> None:
    stream = io.StringIO()
    display = StartDisplay(Console(file=stream, force_terminal=True))
    display.downloading(_step(500))
    display.stop()
    assert "m.gguf" in stream.getvalue()

"""How a download is shown."""

from __future__ import annotations

import io

from modelhost.models.download import FileProgress
from modelhost.models.progress import shown_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _step(done: int, part: int = 1, parts: int = 1) -> FileProgress:
    return FileProgress(file="m.gguf", done_bytes=done, total_bytes=1000, part=part, parts=parts)


def test_without_a_terminal_each_tenth_is_one_line() -> None:
    lines: list[str] = []
    with shown_progress(io.StringIO(), lines.append) as progress:
        for done in range(0, 1001, 10):
            progress(_step(done))
    assert len(lines) == 11
    assert lines[0].startswith("downloading m.gguf: 0 %")
    assert "100 %" in lines[-1]


def test_without_a_writer_lines_go_to_the_stream() -> None:
    stream = io.StringIO()
    with shown_progress(stream) as progress:
        progress(_step(1000, part=2, parts=3))
    assert "m.gguf (2 of 3): 100 %" in stream.getvalue()


def test_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with shown_progress(stream) as progress:
        progress(_step(500))
        progress(_step(1000))
    assert "m.gguf" in stream.getvalue()

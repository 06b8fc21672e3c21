"""The progress of a download for people: a bar on a terminal, a line every ten per cent elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from modelhost.models.download import DownloadProgress, FileProgress


@contextmanager
def shown_progress(stream: TextIO, write_line: Callable[[str], None] | None = None) -> Iterator[DownloadProgress]:
    """Yield a callback for ``download`` that shows on ``stream``; without a terminal, lines go to ``write_line``."""
    if stream.isatty():
        with _bar(stream) as progress:
            yield progress
    else:
        yield ProgressLines(write_line or (lambda line: print(line, file=stream, flush=True)))


class ProgressLines:
    """Writes a line for each tenth of each file."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write_line = write_line
        self._tenths: dict[str, int] = {}

    def __call__(self, progress: FileProgress) -> None:
        tenth = progress.done_bytes * 10 // max(progress.total_bytes, 1)
        if tenth > self._tenths.get(progress.file, -1):
            self._tenths[progress.file] = tenth
            megabytes = f"{progress.done_bytes / 1e6:,.1f} of {progress.total_bytes / 1e6:,.1f} MB"
            self._write_line(f"downloading {_title(progress)}: {tenth * 10} % ({megabytes})")


@contextmanager
def _bar(stream: TextIO) -> Iterator[DownloadProgress]:
    from rich import progress as rich_progress  # noqa: PLC0415 (7 MB, and only on a terminal)
    from rich.console import Console  # noqa: PLC0415

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    tasks: dict[str, rich_progress.TaskID] = {}
    with rich_progress.Progress(*columns, console=Console(file=stream)) as bar:

        def show(progress: FileProgress) -> None:
            if progress.file not in tasks:
                tasks[progress.file] = bar.add_task(_title(progress), total=progress.total_bytes)
            bar.update(tasks[progress.file], completed=progress.done_bytes)

        yield show


def _title(progress: FileProgress) -> str:
    return progress.file if progress.parts == 1 else f"{progress.file} ({progress.part} of {progress.parts})"

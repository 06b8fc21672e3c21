"""Shows the progress of a download that a running host makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from modelhost import lazy
from modelhost.cli import console
from modelhost.operations.operation import OnProgress, Progress

TENTHS: Final = 10


@contextmanager
def show_download() -> Iterator[OnProgress]:
    """Yield a callback that shows progress on stderr: a bar on a terminal, else a line for each tenth."""
    with ExitStack() as shown:
        yield (_Bar(shown) if console.stderr_is_terminal() else _Lines()).show


class _Bar:
    """Shows a bar from the first step on, until ``shown`` is closed."""

    def __init__(self, shown: ExitStack) -> None:
        self._shown = shown
        self._update: OnProgress | None = None

    def show(self, progress: Progress) -> None:
        """Move the bar."""
        if self._update is None:
            self._update = self._begin()
        self._update(progress)

    def _begin(self) -> OnProgress:
        bar = self._shown.enter_context(console.new_bar(lazy.rich_progress.TextColumn("{task.percentage:>3.0f} %")))
        task = bar.add_task("", total=1.0)
        return lambda progress: bar.update(task, description=progress.message, completed=progress.fraction or 0.0)


class _Lines:
    """Prints a line for each tenth."""

    def __init__(self) -> None:
        self._tenth = -1

    def show(self, progress: Progress) -> None:
        """Write a line if another tenth is here."""
        tenth = int((progress.fraction or 0.0) * TENTHS)
        if tenth > self._tenth:
            self._tenth = tenth
            console.note(f"{progress.message}: {tenth * TENTHS} %")

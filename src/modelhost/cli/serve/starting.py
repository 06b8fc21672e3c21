"""The output of ``modelhost serve`` while it starts and when it listens."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from modelhost.models.hub.progress import FileProgress


class DownloadLines:
    """Prints a line for each tenth of each file, where stderr is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tenths: dict[str, int] = {}

    def show(self, progress: FileProgress) -> None:
        """Write a line if another tenth has arrived."""
        tenth = progress.done_bytes * 10 // max(progress.total_bytes, 1)
        if tenth > self._tenths.get(progress.file, -1):
            self._tenths[progress.file] = tenth
            amount = f"{progress.done_bytes / 1e6:,.1f} of {progress.total_bytes / 1e6:,.1f} MB"
            self._console.print(f"downloading {_title(progress)}: {tenth * 10} % ({amount})", soft_wrap=True)


class StartDisplay:
    """Shows progress bars for downloads and loading on a terminal, otherwise lines for downloads."""

    def __init__(self, console: Console) -> None:
        # Logs keep their own way to stderr: they are bound to it for longer than this display lives.
        progress = functools.partial(
            Progress,
            TextColumn("{task.description}"),
            BarColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._download = progress(DownloadColumn(), TransferSpeedColumn())
        self._loading = progress()
        self._tasks: dict[str, TaskID] = {}
        self._lines = None if console.is_terminal else DownloadLines(console)

    def downloading(self, progress: FileProgress) -> None:
        """Show the progress of one file; called from the download thread."""
        if self._lines is not None:
            self._lines.show(progress)
            return
        if progress.file not in self._tasks:
            self._download.start()
            self._tasks[progress.file] = self._download.add_task(_title(progress), total=progress.total_bytes)
        self._download.update(self._tasks[progress.file], completed=progress.done_bytes)

    def loading(self, fraction: float) -> None:
        """Show how much of the model is loaded, from 0 to 1."""
        if "" not in self._tasks:
            self._download.stop()
            self._loading.start()
            self._tasks[""] = self._loading.add_task("loading the model", total=1.0)
        self._loading.update(self._tasks[""], completed=fraction)

    def stop(self) -> None:
        """Remove the bars; may be called repeatedly."""
        self._download.stop()
        self._loading.stop()


@contextmanager
def start_display() -> Iterator[StartDisplay]:
    """Yield a display on stderr that disappears at the end."""
    display = StartDisplay(Console(stderr=True))
    try:
        yield display
    finally:
        display.stop()


def _title(progress: FileProgress) -> str:
    return progress.file if progress.parts == 1 else f"{progress.file} ({progress.part} of {progress.parts})"


def announcement(url: str, model: str, *, needs_key: bool) -> str:
    """Return a first example with ``curl`` and with the ``openai`` package."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
    key_header = ' -H "Authorization: Bearer $MODELHOST_API_KEY"' if needs_key else ""
    key = "YOUR_KEY" if needs_key else "none"
    return f"""\
{model} answers at {url} (Ctrl-C stops it). Try:

  curl {url}/v1/chat/completions -H "Content-Type: application/json"{key_header} -d {shlex.quote(body)}

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  answer = client.chat.completions.create(model={json.dumps(model)}, messages=[{{"role": "user", "content": "Hello!"}}])
  print(answer.choices[0].message.content)
"""


def prompt_announcement(url: str, model: str, *, needs_key: bool) -> str:
    """Return a first example for a host that takes prompts only."""
    key_header = ' -H "Authorization: Bearer $MODELHOST_API_KEY"' if needs_key else ""
    body = shlex.quote(json.dumps({"prompt": "Hello!"}))
    return f"""\
{model} answers prompts at {url} (Ctrl-C stops it). Try:

  curl {url}/{key_header} -d {body}
"""

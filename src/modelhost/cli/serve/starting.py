"""The output of ``modelhost serve`` while it starts and when it listens."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from modelhost import lazy
from modelhost.cli import console
from modelhost.engines import TRAITS
from modelhost.exchange.tasks import Task
from modelhost.models.hub.progress import FileProgress

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

    from modelhost.host import Host

MEDIA: Final[tuple[Task, ...]] = ("speech", "transcription", "images")
"""Tasks of models that do nothing else, for which there are commands."""


class DownloadLines:
    """Prints a line for each tenth of each file, where stderr is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._tenths: dict[str, int] = {}

    def show(self, progress: FileProgress) -> None:
        """Write a line if another tenth has arrived."""
        tenth = progress.done_bytes * 10 // max(progress.total_bytes, 1)
        if tenth > self._tenths.get(progress.file, -1):
            self._tenths[progress.file] = tenth
            amount = f"{progress.done_bytes / 1e6:,.1f} of {progress.total_bytes / 1e6:,.1f} MB"
            print(f"downloading {_title(progress)}: {tenth * 10} % ({amount})", file=self._stream, flush=True)


class StartDisplay:
    """Shows progress bars for downloads and loading on a terminal, otherwise lines for downloads.

    rich is imported for bars only: a start without a terminal does not wait for that.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bars: list[Progress] = []
        """That of downloads, then that of loading."""
        self._tasks: dict[str, TaskID] = {}
        self._lines = None if stream.isatty() else DownloadLines(stream)

    def downloading(self, progress: FileProgress) -> None:
        """Show the progress of one file; called from the download thread."""
        if self._lines is not None:
            self._lines.show(progress)
            return
        if not self._bars:
            self._start(lazy.rich_progress.DownloadColumn(), lazy.rich_progress.TransferSpeedColumn())
        bar = self._bars[0]
        if progress.file not in self._tasks:
            self._tasks[progress.file] = bar.add_task(_title(progress), total=progress.total_bytes)
        bar.update(self._tasks[progress.file], completed=progress.done_bytes)

    def loading(self, fraction: float) -> None:
        """Show how much of the model is loaded, from 0 to 1."""
        if self._lines is not None:
            return
        if "" not in self._tasks:
            self.stop()
            self._start()
            self._tasks[""] = self._bars[-1].add_task("loading the model", total=1.0)
        self._bars[-1].update(self._tasks[""], completed=fraction)

    def _start(self, *columns: ProgressColumn) -> None:
        terminal = lazy.rich_console.Console(file=self._stream)
        self._bars.append(console.new_bar(*columns, terminal=terminal))
        self._bars[-1].start()

    def stop(self) -> None:
        """Remove the bars; may be called repeatedly."""
        for bar in self._bars:
            bar.stop()


@contextmanager
def start_display() -> Iterator[StartDisplay]:
    """Yield a display on stderr that disappears at the end."""
    display = StartDisplay(sys.stderr or io.StringIO())  # None if the program was started with it closed
    try:
        yield display
    finally:
        display.stop()


def _title(progress: FileProgress) -> str:
    return progress.file if progress.parts == 1 else f"{progress.file} ({progress.part} of {progress.parts})"


def _example(url: str, model: str, *ways: str, answers: str = "answers") -> str:
    """Return where ``model`` answers, and the ways to try it."""
    return f"{model} {answers} at {url} (Ctrl-C stops it). Try:\n" + "".join(f"\n  {way}\n" for way in ways)


def _key_header(needs_key: bool) -> str:
    return ' -H "Authorization: Bearer $MODELHOST_API_KEY"' if needs_key else ""


def _curl_json(address: str, body: Mapping[str, Any], *, needs_key: bool) -> str:
    header = f'-H "Content-Type: application/json"{_key_header(needs_key)}'
    return f"curl {address} {header} -d {shlex.quote(json.dumps(body))}"


def announcement(url: str, model: str, *, needs_key: bool) -> str:
    """Return a first example with ``curl`` and with the ``openai`` package."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    key = "YOUR_KEY" if needs_key else "none"
    program = f"""\
from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  answer = client.chat.completions.create(model={json.dumps(model)}, messages=[{{"role": "user", "content": "Hello!"}}])
  print(answer.choices[0].message.content)"""
    return _example(url, model, _curl_json(f"{url}/v1/chat/completions", body, needs_key=needs_key), program)


def prompt_announcement(url: str, model: str, *, needs_key: bool) -> str:
    """Return a first example for a host that takes prompts only."""
    body = shlex.quote(json.dumps({"prompt": "Hello!"}))
    return _example(url, model, f"curl {url}/{_key_header(needs_key)} -d {body}", answers="answers prompts")


def embedding_announcement(url: str, model: str, *, needs_key: bool) -> str:
    """Return a first example for a model that only makes embeddings."""
    body = {"model": model, "input": "Hello!"}
    return _example(url, model, _curl_json(f"{url}/v1/embeddings", body, needs_key=needs_key))


def media_announcement(url: str, model: str, task: Task, *, needs_key: bool) -> str:
    """Return a first example for a model that only does ``task``, one of :data:`MEDIA`."""
    if task == "speech":
        body = {"model": model, "input": "Hello!"}
        request = f"{_curl_json(f'{url}/v1/audio/speech', body, needs_key=needs_key)} -o hello.mp3"
        command = 'speak "Hello!" -o hello.mp3'
    elif task == "images":
        body = {"model": model, "prompt": "a lighthouse", "response_format": "url"}
        request = _curl_json(f"{url}/v1/images/generations", body, needs_key=needs_key)
        command = 'image "a lighthouse" -o lighthouse.png'
    else:
        form = f"{_key_header(needs_key)} -F {shlex.quote(f'model={model}')} -F file=@talk.mp3"
        request = f"curl {url}/v1/audio/transcriptions{form}"
        command = "transcribe talk.mp3"
    return _example(url, model, request, f"modelhost {command} --model {shlex.quote(model)} --url {url}")


def first_example(url: str, host: Host) -> str:
    """Return what to print when ``host`` listens at ``url``: an example that fits what its first model can do."""
    model, needs_key = host.models[0], bool(host.settings.api_keys)
    if host.settings.only_prompt:
        return prompt_announcement(url, model.name, needs_key=needs_key)
    own = model.known.spec.task if model.known is not None else None
    for task in MEDIA:
        if own == task or TRAITS[model.engine.name].can[:1] == (task,):
            return media_announcement(url, model.name, task, needs_key=needs_key)
    if own == "embeddings":
        return embedding_announcement(url, model.name, needs_key=needs_key)
    return announcement(url, model.name, needs_key=needs_key)

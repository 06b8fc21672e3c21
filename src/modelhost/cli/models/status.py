"""The models of a running host: as a table, once or continuously, and the progress of a load or a download."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

import typer

from modelhost import lazy
from modelhost.cli import console
from modelhost.cli.running_host import RunningHost
from modelhost.errors import HostUnreachable, ModelFailed, ModelNotFound, ModelUnloaded
from modelhost.models.residency.status import Activity, State
from modelhost.operations.model_loading import Loading
from modelhost.operations.models import STATUS
from modelhost.operations.operation import NoParameters, OnProgress, Progress
from modelhost.operations.reports import EventReport, HostReport, ModelReport

if TYPE_CHECKING:
    from rich.table import Table

REFRESH_SECONDS: Final = 0.2  # loads report progress more often than anybody can read
STYLES: Final = {"ready": "green", "busy": "green", "loading": "yellow", "queued": "yellow", "failed": "red"}


def format_memory(mb: int) -> str:
    return f"{mb:,} MB" if mb < 10_000 else f"{mb / 1000:,.1f} GB"


def describe_state(state: State | None, activity: Activity | None, progress: float | None) -> str:
    """Describe the state of a model, with the download that precedes a load and the progress."""
    parts = (
        state,
        activity if activity == "download" else None,
        None if progress is None else f"{progress * 100:.0f} %",
    )
    return " ".join(part for part in parts if part)


def print_status(report: HostReport) -> None:
    console.print_table(_table(report))


def watch(remote: RunningHost, *, as_json: bool) -> None:
    """Show changes until Ctrl-C: as a table on a terminal, otherwise one event per line.

    Raises:
        HostUnreachable: the host stopped.
    """
    if as_json or not lazy.rich_console.Console().is_terminal:
        for event in remote.model_events():
            typer.echo(event.model_dump_json() if as_json else event_line(event))
    else:
        with lazy.rich_live.Live(auto_refresh=False) as live:
            for _event in _not_too_often(remote.model_events()):
                live.update(_table(remote.call(STATUS, NoParameters())), refresh=True)
    raise HostUnreachable(f"the host at {remote.url} has stopped")


def event_line(event: EventReport) -> str:
    at = datetime.fromtimestamp(event.at).astimezone().strftime("%H:%M:%S")
    is_about_state = event.kind in {"state", "progress"}
    what = describe_state(event.state, event.activity, event.progress) if is_about_state else event.kind
    return " ".join(part for part in (at, event.model, what, event.message) if part)


def _not_too_often(events: Iterator[EventReport]) -> Iterator[EventReport]:
    """Yield ``events`` without progress that comes too soon after the last event."""
    last = 0.0
    for event in events:
        now = time.monotonic()
        if event.kind != "progress" or now - last >= REFRESH_SECONDS:
            last = now
            yield event


def _table(report: HostReport) -> Table:
    numbers = ("Memory", "In flight", "Waiting")
    table = console.new_table("Model", "State", *numbers, "Last error", right=numbers, fold=("Last error",))
    used = (
        f"{pool} {format_memory(memory.used_mb)} of {format_memory(memory.budget_mb)}"
        for pool, memory in report.memory.items()
    )
    table.caption, table.caption_justify = ", ".join(used) or None, "left"
    for model in report.models:
        console.add_row(
            table,
            f"{model.name} *" if model.name == report.active_model else model.name,
            lazy.rich_text.Text(_state(model), style=STYLES.get(model.state, "dim")),
            _memory(model),
            str(model.in_flight),
            _waiting(model),
            (model.obstacle or model.last_error or "").partition("\n")[0],
        )
    if report.registry_error:
        console.add_row(table, report.registry or "models.yaml", "", "", "", "", report.registry_error)
    return table


def _state(model: ModelReport) -> str:
    """Describe the state of the model, and its load configuration where that differs from its entry."""
    given = ", ".join(f"{name}={json.dumps(value)}" for name, value in model.load_config.items())
    config = f"{given} (temporary)" if given and model.is_config_temporary else given
    return ", ".join(filter(None, (describe_state(model.state, model.activity, model.progress), config)))


def _memory(model: ModelReport) -> str:
    if model.memory_mb is not None:
        return format_memory(model.memory_mb)
    return f"~ {format_memory(model.need_mb)}" if model.need_mb is not None else ""


def _waiting(model: ModelReport) -> str:
    if not model.queue_length or model.oldest_wait_seconds is None:
        return str(model.queue_length)
    return f"{model.queue_length} ({model.oldest_wait_seconds:.0f} s)"


def follow_load(remote: RunningHost, begun: Loading) -> None:
    """Show the progress of the load until the model is ready.

    Raises:
        ModelFailed: the model could not be loaded, or not with the requested configuration.
        ModelUnloaded, ModelNotFound: another client unloaded it, or it left the registry.
        HostUnreachable: the host stopped.
    """
    with console.new_bar() as bar, closing(remote.model_events()) as events:
        task = bar.add_task(begun.model_id, total=None)
        for event in events:
            if event.model != begun.model_id:
                continue
            if event.state in {State.READY, State.BUSY}:
                return
            _check_goes_on(remote, event)
            if event.kind == "state" and bar.disable:
                console.note(event_line(event))
            what = f"{begun.model_id} {describe_state(event.state, event.activity, None)}"
            total = None if event.progress is None else 1.0
            bar.update(task, description=what, completed=event.progress or 0.0, total=total)
    raise HostUnreachable(f"the host at {remote.url} stopped before {begun.model_id} was ready")


def _check_goes_on(remote: RunningHost, event: EventReport) -> None:
    if event.kind == "reload_failed":
        raise ModelFailed(event.message or _last_error(remote, event.model))
    if event.kind == "removed":
        raise ModelNotFound(f"{event.model} was taken out of the host's registry while it was loaded.")
    if event.state is State.FAILED:
        raise ModelFailed(event.message or _last_error(remote, event.model))
    if event.state is State.UNLOADED:
        raise ModelUnloaded(f"{event.model} was unloaded before it was ready. {event.message or ''}".rstrip())


def _last_error(remote: RunningHost, name: str) -> str:
    models = remote.call(STATUS, NoParameters()).models
    known = next((model.last_error for model in models if model.name == name), None)
    return known or f"{name} could not be loaded."


TENTHS: Final = 10


@contextmanager
def show_download() -> Iterator[OnProgress]:
    """Yield a callback that shows progress on stderr: a bar on a terminal, else a line for each tenth."""
    with ExitStack() as shown:
        yield (_Bar(shown) if console.stderr_is_terminal() else _Lines()).show


class _Bar:
    def __init__(self, shown: ExitStack) -> None:
        self._shown = shown
        self._update: OnProgress | None = None

    def show(self, progress: Progress) -> None:
        if self._update is None:
            self._update = self._shown.enter_context(console.shown_progress(""))
        self._update(progress)


class _Lines:
    def __init__(self) -> None:
        self._tenth = -1

    def show(self, progress: Progress) -> None:
        tenth = int((progress.fraction or 0.0) * TENTHS)
        if tenth > self._tenth:
            self._tenth = tenth
            console.note(f"{progress.message}: {tenth * TENTHS} %")

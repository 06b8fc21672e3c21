"""The models of a running host for a person: as a table, once or continuously, and while one is loaded."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Final

import typer

from modelhost.cli import console
from modelhost.cli.running_host import RunningHost
from modelhost.errors import HostUnreachable, ModelFailed, ModelNotFound, ModelUnloaded
from modelhost.models.residency.status import Activity, State
from modelhost.operations.model_loading import Loading
from modelhost.operations.models import STATUS
from modelhost.operations.operation import NoParameters
from modelhost.operations.reports import EventReport, HostReport, ModelReport

if TYPE_CHECKING:
    from rich.console import RenderableType

BETWEEN_LOOKS_SECONDS: Final = 0.2  # a load tells its progress more often than anybody can read
STYLES: Final = {"ready": "green", "busy": "green", "loading": "yellow", "queued": "yellow", "failed": "red"}
_PIPED_WIDTH: Final = 1000  # a table that is not for a terminal keeps each model on one line


def amount(mb: int) -> str:
    """Memory for a person."""
    return f"{mb:,} MB" if mb < 10_000 else f"{mb / 1000:,.1f} GB"


def percent(fraction: float) -> str:
    """How far something is."""
    return f"{fraction * 100:.0f} %"


def doing(state: State | None, activity: Activity | None, progress: float | None) -> str:
    """What a model is doing: the state says enough, unless it loads by downloading first."""
    parts = (state, activity if activity == "download" else None, None if progress is None else percent(progress))
    return " ".join(part for part in parts if part)


def print_table(report: HostReport) -> None:
    """Print the models on standard output."""
    from rich.console import Console  # noqa: PLC0415  (slow to import, and only tables need it)

    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=_PIPED_WIDTH)).print(_table(report))


def watch(remote: RunningHost, *, as_json: bool) -> None:
    """Show what happens until Ctrl-C: a table on a terminal, otherwise an event a line.

    Raises:
        HostUnreachable: the host went away.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    if as_json or not Console().is_terminal:
        for event in remote.model_events():
            typer.echo(event.model_dump_json() if as_json else line(event))
    else:
        with Live(auto_refresh=False) as live:
            for _event in _not_too_often(remote.model_events()):
                live.update(_table(remote.call(STATUS, NoParameters())), refresh=True)
    raise HostUnreachable(f"the host at {remote.url} has stopped")


def line(event: EventReport) -> str:
    """An event on a line."""
    at = datetime.fromtimestamp(event.at).astimezone().strftime("%H:%M:%S")
    is_about_state = event.kind in {"state", "progress"}
    what = doing(event.state, event.activity, event.progress) if is_about_state else event.kind
    return " ".join(part for part in (at, event.model, what, event.message) if part)


def _not_too_often(events: Iterator[EventReport]) -> Iterator[EventReport]:
    """``events`` without the steps of progress that come too soon after the last event."""
    last = 0.0
    for event in events:
        now = time.monotonic()
        if event.kind != "progress" or now - last >= BETWEEN_LOOKS_SECONDS:
            last = now
            yield event


def _table(report: HostReport) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    used = ", ".join(
        f"{pool} {amount(memory.used_mb)} of {amount(memory.budget_mb)}" for pool, memory in report.memory.items()
    )
    table = Table(box=None, pad_edge=False, header_style="bold", caption=used or None, caption_justify="left")
    for heading in ("Model", "State"):
        table.add_column(heading)
    for heading in ("Memory", "In flight", "Waiting"):
        table.add_column(heading, justify="right")
    table.add_column("Last error", overflow="fold")
    for model in report.models:
        name = f"{model.name} *" if model.name == report.active_model else model.name
        table.add_row(
            Text(name),
            Text(_state(model), style=STYLES.get(model.state, "dim")),
            Text(_memory(model)),
            str(model.in_flight),
            _waiting(model),
            Text((model.obstacle or model.last_error or "").partition("\n")[0]),
        )
    if report.registry_error:
        table.add_row(Text(report.registry or "models.yaml"), "", "", "", "", Text(report.registry_error))
    return table


def _state(model: ModelReport) -> str:
    """What it is doing, and how it was asked to be loaded, where that is not as in its entry."""
    told = ", ".join(f"{name}={json.dumps(value)}" for name, value in model.load_config.items())
    config = f"{told} (temporary)" if told and model.is_config_temporary else told
    return ", ".join(filter(None, (doing(model.state, model.activity, model.progress), config)))


def _memory(model: ModelReport) -> str:
    if model.memory_mb is not None:
        return amount(model.memory_mb)
    return f"~ {amount(model.need_mb)}" if model.need_mb is not None else ""


def _waiting(model: ModelReport) -> str:
    if not model.queue_length or model.oldest_wait_seconds is None:
        return str(model.queue_length)
    return f"{model.queue_length} ({model.oldest_wait_seconds:.0f} s)"


def follow_load(remote: RunningHost, begun: Loading) -> None:
    """Show how far the load is until the model is ready.

    Raises:
        ModelFailed: it could not be loaded, or not with the configuration that was asked for.
        ModelUnloaded, ModelNotFound: somebody else unloaded it, or took it out of the registry.
        HostUnreachable: the host went away.
    """
    from rich.console import Console  # noqa: PLC0415  (slow to import, and only a load that is waited for needs it)
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    terminal = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        console=terminal,
        disable=not terminal.is_terminal,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar, closing(remote.model_events()) as events:
        task = bar.add_task(begun.model_id, total=None)
        for event in events:
            if event.model != begun.model_id:
                continue
            if event.state in {State.READY, State.BUSY}:
                return
            _check_goes_on(remote, event)
            if event.kind == "state" and not terminal.is_terminal:
                console.note(line(event))
            what = f"{begun.model_id} {doing(event.state, event.activity, None)}"
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

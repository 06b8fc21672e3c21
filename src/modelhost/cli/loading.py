"""What a person sees while a running host loads a model for them."""

from __future__ import annotations

from contextlib import closing

from modelhost.cli import console
from modelhost.cli.answerer import RunningHost
from modelhost.cli.models_shown import doing, line
from modelhost.errors import HostUnreachable, ModelFailed, ModelNotFound, ModelUnloaded
from modelhost.models.residency.status import State
from modelhost.operations.model_loading import Loading
from modelhost.operations.models import STATUS
from modelhost.operations.operation import NoParameters
from modelhost.operations.reports import EventReport


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

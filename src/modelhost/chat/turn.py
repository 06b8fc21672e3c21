"""One turn with a model: its request as the engine takes it, and what is measured of the answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from modelhost.chat import requests, tool_choice
from modelhost.chat.defaults import with_defaults
from modelhost.chat.generation import Generation
from modelhost.chat.images import check_images
from modelhost.chat.notes import NEUTRALISED, Notes
from modelhost.chat.relay import Report
from modelhost.engines.base import Task
from modelhost.engines.control_tokens import without_origins
from modelhost.errors import ContextLengthExceeded, UnsupportedOperation
from modelhost.models.hosted import HostedModel
from modelhost.workers.client import Worker

GENERATING: Final[frozenset[Task]] = frozenset({"chat", "completions"})
PROMPTS: Final[Mapping[Task, str]] = {"chat": "messages", "completions": "prompt"}
"""The field that can be too long."""
STREAMED: Final = {"stream": True, "stream_options": {"include_usage": True}}
NOT_FOR_ENGINES: Final = requests.INERT | {"mcp", "session_id"}


def generation_of(
    model: HostedModel, task: Task, body: dict[str, Any], notes: Notes, *, include_usage: bool
) -> Generation:
    """Return the request ``body`` ready to be sent; ``notes`` are told what has been done to it.

    Raises:
        UnsupportedParameter: the engine of ``model`` does not know a field of it.
    """
    prepared = _prepared(model, task, body)
    if task == "chat":
        prepared = _with_contents_as_text(model, prepared, notes)
    is_forced = tool_choice.is_forced(prepared)
    dialect = model.engine.adapt(task, prepared)
    # An engine that cannot force a call asks its model for the call's JSON instead of showing it tools.
    writes_call = is_forced and "tools" not in dialect
    return Generation(task, dialect, include_usage=include_usage, writes_call=writes_call)


@asynccontextmanager
async def turn_of(  # noqa: PLR0913 (all are parts of one request)
    model: HostedModel,
    task: Task,
    body: dict[str, Any],
    lease: AbstractAsyncContextManager[Worker],
    notes: Notes,
    *,
    include_usage: bool = False,
) -> AsyncIterator[tuple[Generation, Worker]]:
    """Lend the worker of ``model`` for one answer, with the request ``body`` ready to be sent to it.

    A wrong request is refused before it waits. The engine of a model whose files nobody has looked at is a guess until
    then, and its control tokens are unknown: the request is prepared again once they have been looked at.

    Raises:
        ModelhostError: the request is wrong, or ``lease`` raises it.
    """
    resolved = model.resolved
    generation = generation_of(model, task, body, notes, include_usage=include_usage)
    async with lease as worker:
        if model.resolved is not resolved:
            generation = generation_of(model, task, body, notes, include_usage=include_usage)
        async with measured(model, task, generation.report):
            check_can(worker, task, body)
            yield generation, worker


def adapted(model: HostedModel, task: Task, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body``, of a task that generates nothing, in the engine's dialect; raises as above."""
    return model.engine.adapt(task, _prepared(model, task, body))


def _prepared(model: HostedModel, task: Task, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body``, which is left as it is, without what does not concern an engine, and with what all get."""
    requests.validate_fields(task, body, model.engine)
    prepared = {key: value for key, value in body.items() if value is not None and key not in NOT_FOR_ENGINES}
    if task in GENERATING:
        prepared = with_defaults(prepared, model.defaults)
        requests.validate_fields(task, prepared, model.engine)  # a default has to mean something to it, too
    prepared["model"] = model.name
    if task == "chat":
        prepared = tool_choice.enforce(prepared)
    if task in GENERATING:
        prepared |= STREAMED
    return prepared


def _with_contents_as_text(model: HostedModel, body: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Return ``body`` without names of the model's control tokens in what users and tools wrote, unless they count."""
    changed = model.control_tokens.neutralised(body) if model.control_tokens is not None else None
    if changed is not None:
        notes.tell(NEUTRALISED)
    return without_origins(changed or body) if model.engine.reads_contents else changed or body


@asynccontextmanager
async def measured(model: HostedModel, task: Task, report: Report) -> AsyncIterator[None]:
    """Measure the answer that is made meanwhile; a prompt that is too long is told by the name of its field."""
    began = time.perf_counter()
    model.pace.begin(began)
    try:
        yield
    except ContextLengthExceeded as error:
        error.param = PROMPTS[task]
        raise
    finally:
        model.meters.count_usage(report.usage)
        tokens = None if report.usage is None else report.usage.get("completion_tokens") or 0
        latency = None if report.first_at is None else report.first_at - began
        model.pace.end(time.perf_counter(), tokens=tokens, latency_seconds=latency)
        if report.first_at is not None and report.last_at is not None:
            model.meters.time_to_first_token.observe(report.first_at - report.began)
            if tokens is not None and tokens > 1:
                seconds = (report.last_at - report.first_at) / (tokens - 1)
                model.meters.time_between_tokens.observe(seconds)


def check_can(worker: Worker, task: Task, body: Mapping[str, Any]) -> None:
    """Check that the model of ``worker`` is made for ``task``, and for the images in ``body``.

    Raises:
        UnsupportedOperation, InvalidRequest: saying what it can do, or what is wrong with an image.
    """
    if task not in worker.ready.tasks:
        can = ", ".join(sorted(worker.ready.tasks))
        advice = worker.engine.advice(task)
        raise UnsupportedOperation(
            f"{worker.model} cannot do {task}; it can do: {can}. {advice}".rstrip(), model=worker.model
        )
    if task == "chat":
        check_images(worker, body)

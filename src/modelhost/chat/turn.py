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
from modelhost.engines.base import Operation
from modelhost.engines.control_tokens import without_origins
from modelhost.errors import ContextLengthExceeded, UnsupportedOperation
from modelhost.models.hosted import HostedModel
from modelhost.workers.client import Worker

GENERATING: Final[frozenset[Operation]] = frozenset({"chat", "completions"})
PROMPTS: Final[Mapping[Operation, str]] = {"chat": "messages", "completions": "prompt"}
"""The field that can be too long."""
STREAMED: Final = {"stream": True, "stream_options": {"include_usage": True}}
NOT_FOR_ENGINES: Final = requests.INERT | {"mcp", "session_id"}


def generation_of(
    model: HostedModel, operation: Operation, body: dict[str, Any], notes: Notes, *, include_usage: bool
) -> Generation:
    """Return the request ``body`` ready to be sent; ``notes`` are told what has been done to it.

    Raises:
        UnsupportedParameter: the engine of ``model`` does not know a field of it.
    """
    prepared = _prepared(model, operation, body)
    if operation == "chat":
        prepared = _with_contents_as_text(model, prepared, notes)
    is_forced = tool_choice.is_forced(prepared)
    dialect = model.engine.adapt(operation, prepared)
    # An engine that cannot force a call asks its model for the call's JSON instead of showing it tools.
    writes_call = is_forced and "tools" not in dialect
    return Generation(operation, dialect, include_usage=include_usage, writes_call=writes_call)


@asynccontextmanager
async def turn_of(  # noqa: PLR0913 (all are parts of one request)
    model: HostedModel,
    operation: Operation,
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
    generation = generation_of(model, operation, body, notes, include_usage=include_usage)
    async with lease as worker:
        if model.resolved is not resolved:
            generation = generation_of(model, operation, body, notes, include_usage=include_usage)
        async with measured(model, operation, generation.report):
            check_can(worker, operation, body)
            yield generation, worker


def adapted(model: HostedModel, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body``, of an operation that generates nothing, in the engine's dialect; raises as above."""
    return model.engine.adapt(operation, _prepared(model, operation, body))


def _prepared(model: HostedModel, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body``, which is left as it is, without what does not concern an engine, and with what all get."""
    requests.validate_fields(operation, body, model.engine)
    prepared = {key: value for key, value in body.items() if value is not None and key not in NOT_FOR_ENGINES}
    if operation in GENERATING:
        prepared = with_defaults(prepared, model.defaults)
        requests.validate_fields(operation, prepared, model.engine)  # a default has to mean something to it, too
    prepared["model"] = model.name
    if operation == "chat":
        prepared = tool_choice.enforce(prepared)
    if operation in GENERATING:
        prepared |= STREAMED
    return prepared


def _with_contents_as_text(model: HostedModel, body: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Return ``body`` without names of the model's control tokens in what users and tools wrote, unless they count."""
    changed = model.control_tokens.neutralised(body) if model.control_tokens is not None else None
    if changed is not None:
        notes.tell(NEUTRALISED)
    return without_origins(changed or body) if model.engine.reads_contents else changed or body


@asynccontextmanager
async def measured(model: HostedModel, operation: Operation, report: Report) -> AsyncIterator[None]:
    """Measure the answer that is made meanwhile; a prompt that is too long is told by the name of its field."""
    began = time.perf_counter()
    model.pace.begin(began)
    try:
        yield
    except ContextLengthExceeded as error:
        error.param = PROMPTS[operation]
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


def check_can(worker: Worker, operation: Operation, body: Mapping[str, Any]) -> None:
    """Check that the model of ``worker`` is made for ``operation``, and for the images in ``body``.

    Raises:
        UnsupportedOperation, InvalidRequest: saying what it can do, or what is wrong with an image.
    """
    if operation not in worker.ready.operations:
        can = ", ".join(sorted(worker.ready.operations))
        advice = worker.engine.advice(operation)
        raise UnsupportedOperation(
            f"{worker.model} cannot do {operation}; it can do: {can}. {advice}".rstrip(), model=worker.model
        )
    if operation == "chat":
        check_images(worker, body)

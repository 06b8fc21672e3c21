"""A worker that is lent out for one turn, and the spans of a request that waits for it and for its load."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.record import Ticket
from modelhost.tracing import spans
from modelhost.tracing.spans import OpenSpan, Value
from modelhost.workers.worker import Worker

OnQueued = Callable[[int], None]
"""Called with the position in the queue, from 1, when a request has to wait."""
MODEL: Final = "modelhost.model"


class Lease:
    """A worker that is lent out; a class of its own, since one that contextlib makes costs each turn more than it."""

    __slots__ = ("_give_back", "_lend", "_model", "_on_queued", "_ticket")

    def __init__(
        self,
        lend: Callable[[HostedModel, OnQueued | None], Awaitable[tuple[Worker, Ticket]]],
        give_back: Callable[[HostedModel, Ticket], None],
        model: HostedModel,
        on_queued: OnQueued | None,
    ) -> None:
        """Take what lends and takes back, and for whom."""
        self._lend = lend
        self._give_back = give_back
        self._model = model
        self._on_queued = on_queued

    async def __aenter__(self) -> Worker:
        worker, self._ticket = await self._lend(self._model, self._on_queued)
        return worker

    async def __aexit__(self, *_: object) -> None:
        self._give_back(self._model, self._ticket)


class waiting:  # noqa: N801 (used like a function made by contextlib)
    """Record what is inside as the wait of a request for ``model``, at ``position`` in its queue."""

    __slots__ = ("_began", "_loaded_at", "_model", "_position", "_span")

    def __init__(self, model: HostedModel, position: int) -> None:
        self._model = model
        self._position = position
        self._span: OpenSpan | None = None

    def __enter__(self) -> None:
        if (tracer := spans.tracer()) is None:
            return
        self._began, self._loaded_at = time.time(), self._model.loaded_at
        self._span = tracer.span("queue", {MODEL: self._model.name, "modelhost.queue.position": self._position})
        self._span.__enter__()

    def __exit__(self, *details: Any) -> None:
        if self._span is None:
            return
        self._note_load()
        self._span.__exit__(*details)

    def _note_load(self) -> None:
        """Record the load that ended meanwhile, as far as it lies within the wait."""
        tracer, loaded_at, seconds = spans.tracer(), self._model.loaded_at, self._model.load_seconds
        if tracer is None or loaded_at is None or seconds is None or loaded_at == self._loaded_at:
            return
        name = self._model.name
        within = max(0.0, min(seconds, loaded_at - self._began))
        attributes: dict[str, Value] = {MODEL: name, "modelhost.load.seconds": round(seconds, 4)}
        tracer.past(f"load {name}", attributes, seconds=within, ended_ago=max(0.0, time.time() - loaded_at))

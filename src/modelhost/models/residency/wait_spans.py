"""The span of a request that waits for its model, and that of the load that it waits for."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final

from modelhost.models.residency.hosted import HostedModel
from modelhost.tracing import spans
from modelhost.tracing.spans import OpenSpan, Value

MODEL: Final = "modelhost.model"


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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is None:
            return
        self._note_load()
        self._span.__exit__(kind, error, traceback)

    def _note_load(self) -> None:
        """Record the load that ended meanwhile, as far as it lies within the wait."""
        tracer, loaded_at, seconds = spans.tracer(), self._model.loaded_at, self._model.load_seconds
        if tracer is None or loaded_at is None or seconds is None or loaded_at == self._loaded_at:
            return
        name = self._model.name
        within = max(0.0, min(seconds, loaded_at - self._began))
        attributes: dict[str, Value] = {MODEL: name, "modelhost.load.seconds": round(seconds, 4)}
        tracer.past(f"load {name}", attributes, seconds=within, ended_ago=max(0.0, time.time() - loaded_at))

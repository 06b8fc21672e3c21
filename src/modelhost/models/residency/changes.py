"""Changes of models: published as events, awaited by those who need a model's next one, and counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Literal, Protocol

from modelhost.events import EventBus, Subscription
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.record import ModelRecord, Phase
from modelhost.models.residency.status import ModelEvent, State

PROGRESS_STEP = 0.01


class WorkerRecorder(Protocol):
    """Records what becomes of workers, by the main names of their models."""

    def loaded(self, model: str, seconds: float) -> None: ...

    def evicted(self, model: str) -> None: ...

    def worker_exited(self, model: str) -> None: ...


class NoRecorder(WorkerRecorder):
    """Records nothing."""


class ModelChanges:
    """Publishes what the scheduler says has changed. ``records`` are the ledger's."""

    def __init__(self, records: Mapping[str, ModelRecord], recorder: Callable[[], WorkerRecorder]) -> None:
        self.feed: EventBus[ModelEvent] = EventBus()
        self._records = records
        self._recorder = recorder
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._is_closed = False

    @property
    def awaited_models(self) -> frozenset[str]:
        """The models of which somebody waits for a change: until one is loaded, unloaded, or has failed."""
        return frozenset(self._waiters)

    @asynccontextmanager
    async def subscribed(self, models: Mapping[str, HostedModel]) -> AsyncIterator[Subscription[ModelEvent]]:
        """Events of all models as long as the context is entered; first the present state of each of ``models``."""
        listener = self.feed.subscribe([self._event(model, "state") for model in models.values()])
        if self._is_closed:
            listener.close()
        try:
            yield listener
        finally:
            self.feed.unsubscribe(listener)

    async def next_of(self, model: HostedModel) -> None:
        """Return when a model has changed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(model.name, set())
        waiters.add(future)
        try:
            await future
        finally:
            waiters.discard(future)
            if not waiters and self._waiters.get(model.name) is waiters:
                del self._waiters[model.name]

    def wake(self, name: str) -> None:
        """Have those go on who wait for a change of this model."""
        for future in self._waiters.pop(name, ()):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        for name in list(self._waiters):
            self.wake(name)

    def close(self) -> None:
        self._is_closed = True
        self.feed.close()

    # What is published.

    def state_changed(self, model: HostedModel | None) -> None:
        """Publish the state of a model, unless it has been removed meanwhile."""
        if model is None or (record := self._records.get(model.name)) is None:
            return
        if record.phase is Phase.UNLOADED:
            model.meters.set_unloaded()
        else:
            model.meters.model_ready.set(1 if record.phase is Phase.READY else 0)
        self._publish(model, self._event(model, "state"))
        self.wake(model.name)

    def reload_failed(self, model: HostedModel, message: str) -> None:
        self._publish(model, ModelEvent(at=time.time(), kind="reload_failed", model=model.name, message=message))

    def progressed(self, model: HostedModel) -> None:
        if self.feed.has_subscribers:
            self.feed.publish(self._event(model, "progress"))

    def removed(self, name: str) -> None:
        self.feed.publish(ModelEvent(at=time.time(), kind="removed", model=name))
        self.wake(name)

    def _publish(self, model: HostedModel, event: ModelEvent) -> None:
        model.record_event(event)
        self.feed.publish(event)

    def _event(self, model: HostedModel, kind: Literal["state", "progress"]) -> ModelEvent:
        record = self._records[model.name]
        state, activity = record.announcement
        return ModelEvent(
            at=time.time(),
            kind=kind,
            model=model.name,
            state=state,
            activity=activity,
            progress=model.progress if state is State.LOADING else None,
            message=record.last_error.message if record.last_error and state is State.FAILED else None,
        )

    # What is counted, too.

    def loaded(self, model: HostedModel, seconds: float) -> None:
        self._recorder().loaded(model.name, seconds)

    def evicted(self, model: HostedModel) -> None:
        model.meters.evictions.inc()
        self._recorder().evicted(model.name)

    def worker_exited(self, model: HostedModel) -> None:
        model.meters.worker_exits.inc()
        self._recorder().worker_exited(model.name)

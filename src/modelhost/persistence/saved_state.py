"""One saved state: put together from what the host holds, and restored into it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from modelhost.errors import InvalidRequest, ModelhostError, ModelNotFound, StateDamaged
from modelhost.logs import get_logger
from modelhost.meters import REGISTRY
from modelhost.models.registry.request_defaults import parse_defaults
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel
from modelhost.persistence.prompt_caches import PromptCaches
from modelhost.state.documents import SavedConversation, SavedModel, SavedPromptCache, SnapshotDocument
from modelhost.state.records import Removed, SnapshotInfo
from modelhost.state.store import StateStore

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredState:
    """What was restored."""

    info: SnapshotInfo
    models: int
    """Models that were loaded in the saved state, and are loaded or loading now."""
    conversations: int
    configurations: int
    prompt_caches: int
    missing_models: tuple[str, ...]
    loading_models: tuple[str, ...]
    failed_models: tuple[str, ...]


@dataclass(slots=True)
class _Load:
    """A model that is being restored."""

    model: HostedModel
    caches: Sequence[SavedPromptCache]
    is_to_be_loaded: bool
    task: asyncio.Task[int] | None = None


class Persistence:
    """Saves and restores models and conversations, while requests are served."""

    def __init__(self, state: StateStore, collection: Callable[[], ModelCollection]) -> None:
        self._state = state
        self._collection = collection
        self._caches = PromptCaches(state.data_dir)
        self._tasks: set[asyncio.Task[int]] = set()

    async def save(
        self, label: str, *, models: bool, conversations: bool, metrics: bool, compression: bool
    ) -> tuple[SnapshotInfo, int]:
        """Save a state under ``label``; return it, and the number of its prompt caches.

        Raises:
            DatabaseUnavailable: nothing is saved.
        """
        saved = await self._conversations() if conversations else ()
        caches = await self._caches.save(self._collection(), saved)
        document = SnapshotDocument(
            models=self._models() if models else (),
            conversations=saved,
            metrics=metrics_now() if metrics else None,
            prompt_caches=caches,
        )
        try:
            return await self._state.snapshots.save(label, document, compression=compression), len(caches)
        except BaseException:
            await self._caches.remove(cache.file for cache in caches)
            raise

    async def _conversations(self) -> tuple[SavedConversation, ...]:
        """Return all sessions at one moment, the last used first."""
        async with aclosing(self._state.sessions.all()) as sessions:
            return tuple([SavedConversation.of(session) async for session in sessions])

    def _models(self) -> tuple[SavedModel, ...]:
        """Return the models with anything to restore."""
        collection = self._collection()
        active = collection.active
        return tuple(
            SavedModel(
                name=model.name,
                is_loaded=model.worker is not None,
                is_active=model is active,
                is_added=model.name in collection.added.entries,
                config=dict(model.overrides),
            )
            for model in collection.models
            if model.worker is not None or model is active or model.overrides or model.name in collection.added.entries
        )

    async def load(
        self, *, label: str | None, state_id: str | None, models: bool, conversations: bool, wait: bool
    ) -> RestoredState:
        """Restore a saved state, the newest of ``label``. Models are loaded in the background, unless ``wait``.

        Models that clients had added are added again before, and downloaded if necessary. A damaged state is refused
        before anything is restored. The prompt caches of a model are restored when it is loaded.

        Raises:
            StateNotFound, StateDamaged, DatabaseUnavailable: nothing is restored.
        """
        info, document = await self._state.snapshots.load(session_id=label, state_id=state_id)
        collection = self._collection()
        _check_configurations(document)
        if models:
            await _add_again(document, collection)
        configurations, missing = _configurations(document, collection)
        kept = 0
        if conversations and document.conversations:
            kept = await self._state.sessions.put_all([each.session() for each in document.conversations])
        if models:
            _configure(document, configurations, collection)
        loads = _loads(document, collection, models=models, conversations=conversations)
        for load in loads:
            load.task = self._spawn(self._bring_back(collection, load), f"restoring {load.model.name}")
        await _wait_for([load for load in loads if wait or collection.is_loaded(load.model)])
        done = [load for load in loads if load.task is not None and load.task.done()]
        failed = {load.model.name for load in done if load.is_to_be_loaded and not collection.is_loaded(load.model)}
        return RestoredState(
            info=info,
            models=sum(1 for load in loads if load.is_to_be_loaded and load.model.name not in failed),
            conversations=kept,
            configurations=sum(1 for config in configurations.values() if config) if models else 0,
            prompt_caches=sum(load.task.result() for load in done if load.task is not None),
            missing_models=tuple(missing) if models else (),
            loading_models=tuple(load.model.name for load in loads if load.is_to_be_loaded and load not in done),
            failed_models=tuple(sorted(failed)),
        )

    async def _bring_back(self, collection: ModelCollection, load: _Load) -> int:
        """Load the model, if it was loaded, and restore its prompt caches; return how many."""
        if load.is_to_be_loaded:
            try:
                await collection.load(load.model, wait=True)
            except ModelhostError as error:
                # Without a traceback: the model's state has the error too, and it is no fault of the host.
                log.error("model_not_restored", model=load.model.name, error=error.message)  # noqa: TRY400
                return 0
        return await self._caches.restore(collection, load.model, load.caches)

    async def clear(
        self, *, label: str | None, older_than_hours: float | None, models: bool, conversations: bool
    ) -> Removed:
        """Remove sessions and saved states, or parts of them; return their number and size.

        Raises:
            DatabaseUnavailable: the rest can be removed later.
        """
        older_than = None if older_than_hours is None else _hours_ago(older_than_hours)
        removed = Removed()
        if conversations:
            removed += await self._state.sessions.clear(session_id=label, older_than=older_than)
        if models or conversations:
            removed += await self._state.snapshots.clear(
                session_id=label, older_than=older_than, include_models=models, include_conversations=conversations
            )
        await self._caches.remove(removed.files)
        return removed

    async def stop(self) -> None:
        """Cancel running restores."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, int], name: str) -> asyncio.Task[int]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _hours_ago(hours: float) -> datetime:
    try:
        return datetime.now(UTC) - timedelta(hours=hours)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


async def _add_again(document: SnapshotDocument, collection: ModelCollection) -> None:
    """Add the models again that clients had added; those that cannot be added now are missing."""

    async def add(name: str) -> None:
        try:
            await collection.find_or_add(name, on_progress=lambda _: None)
        except ModelhostError as error:
            log.error("model_not_added_again", model=name, error=error.message)  # noqa: TRY400 (no bug: no traceback)

    await asyncio.gather(*(add(saved.name) for saved in document.models if saved.is_added))


def _configurations(
    document: SnapshotDocument, collection: ModelCollection
) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """Return the configurations of known models, and the names of unknown ones."""
    found: dict[str, Mapping[str, Any]] = {}
    missing: list[str] = []
    for saved in document.models:
        try:
            name = collection.find(saved.name).name
        except ModelNotFound:
            missing.append(saved.name)
            continue
        found[name] = parse_defaults(saved.config)
    return found, missing


def _check_configurations(document: SnapshotDocument) -> None:
    for saved in document.models:
        try:
            parse_defaults(saved.config)
        except InvalidRequest as error:
            raise StateDamaged(
                f"The configuration of {saved.name} in the saved state is none: {error.message}"
            ) from None


def _configure(
    document: SnapshotDocument, configurations: Mapping[str, Mapping[str, Any]], collection: ModelCollection
) -> None:
    for name, config in configurations.items():
        collection.replace_overrides(name, config)
    for saved in document.models:
        if saved.is_active and saved.name in configurations and collection.find(None).name != saved.name:
            collection.select(saved.name)


def _loads(
    document: SnapshotDocument, collection: ModelCollection, *, models: bool, conversations: bool
) -> list[_Load]:
    """Return the models to load, and those with prompt caches to restore."""
    wanted = {saved.name for saved in document.models if saved.is_loaded} if models else set()
    caches: dict[str, list[SavedPromptCache]] = {}
    for cache in document.prompt_caches if conversations else ():
        caches.setdefault(cache.model, []).append(cache)
    loads = []
    for name in sorted(wanted | caches.keys()):
        try:
            model = collection.find(name)
        except ModelNotFound:
            continue
        if name in wanted or collection.is_loaded(model):
            loads.append(_Load(model=model, caches=caches.get(name, ()), is_to_be_loaded=name in wanted))
    return loads


async def _wait_for(loads: Sequence[_Load]) -> None:
    """Wait for the tasks; a cancellation does not cancel them."""
    if tasks := [load.task for load in loads if load.task is not None]:
        await asyncio.wait(tasks)


LEFT_OUT: Final = ("_bucket", "_created")
"""Endings of names: of a histogram its count and its sum are kept."""


def metrics_now() -> dict[str, Any]:
    """Return the samples of all metrics by name, with labels and values."""
    found: dict[str, list[dict[str, Any]]] = {}
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if not sample.name.endswith(LEFT_OUT):
                found.setdefault(sample.name, []).append({"labels": dict(sample.labels), "value": sample.value})
    return found

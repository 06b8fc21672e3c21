"""The models of a host: those of its settings and of its registry, the active one, and what people do with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from modelhost.background import cancel_and_wait, log_failures
from modelhost.config.settings import Settings
from modelhost.config.vllm_environment import PREFERS_FLOAT16
from modelhost.engines.load_config import LoadConfig
from modelhost.errors import InvalidRequest, ModelNotFound, WorkerStartFailed
from modelhost.logs import get_logger
from modelhost.models.files.memory_pools import MODELS, gpus_in
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.hub.references import is_url
from modelhost.models.registry.admission import adapter_not_found, not_found
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.request_defaults import default_problems, parse_defaults
from modelhost.models.residency.added import AddedModels
from modelhost.models.residency.changes import NoRecorder, WorkerRecorder
from modelhost.models.residency.created import CreatedModels
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.lease import OnQueued
from modelhost.models.residency.ledger import Ledger
from modelhost.models.residency.planner import BurstLimits
from modelhost.models.residency.prompt_caches import PromptCaches
from modelhost.models.residency.registry_sync import LONGEST_WAIT_SECONDS, Previews, RegistrySync
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.residency.status import HostStatus, LoadEstimate, ModelEvent, Selected, State
from modelhost.models.resolve.finding import find_with_progress
from modelhost.models.resolve.locate import name_of, single_entry
from modelhost.models.resolve.resolved import Resolved
from modelhost.models.resolve.runtime import memory_budget
from modelhost.workers.gpus import utilization
from modelhost.workers.process import ProgressCallback
from modelhost.workers.remote.servers import UNREACHABLE
from modelhost.workers.worker import Worker

log = get_logger(__name__)

ACTIVE = "*"
"""The active model in ``model_patterns``."""
REFRESHING = "refreshing the created models"
LATEST = "latest"
"""The tag that Ollama gives to names without one."""
DEFAULT_NAME = "default"
"""A name for the active model in requests, as candle-vllm has it; an entry of that name wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """A model that was made the active one when it was not ready, having been loaded ``loads`` times before."""

    model: HostedModel
    at: float
    loads: int


class ModelCollection:
    """Made by :meth:`start`; to be stopped."""

    def __init__(self, settings: Settings, scheduler: Scheduler, budget: Mapping[str, int]) -> None:
        self._settings = settings
        self._budget = budget
        self.scheduler = scheduler
        self._active: HostedModel | None = None
        self._selection: _Selection | None = None
        self._previews = Previews(scheduler.models, scheduler.set_preview)
        self.added = AddedModels(scheduler, settings, find=self._find)
        """Those that clients have added."""
        self.created = CreatedModels(scheduler, settings, self.added, self._forget_removed)
        """Those of them that clients have made, which are stored."""
        self.registry = RegistrySync(scheduler, settings, self.added, self._follow_registry)
        self._refreshing: asyncio.Task[None] | None = None
        self.prompt_caches = PromptCaches(scheduler)

    @classmethod
    async def start(  # noqa: PLR0913 (how a host starts)
        cls,
        settings: Settings,
        *,
        on_download: DownloadProgress | None = None,
        on_progress: ProgressCallback | None = None,
        load: bool = True,
        launch: Mapping[str, Any] = MappingProxyType({}),
        recorder: Callable[[], WorkerRecorder] = NoRecorder,
    ) -> ModelCollection:
        """Read the registry, and load the model that the settings name; return when that is ready.

        Without a model in the settings, a registry's ``default_model`` is loaded meanwhile, and all others on demand;
        without a registry the model is the bundled one. ``on_progress`` gets 0 when its worker is being started.

        Without ``load`` the active model is one of those that are loaded on demand: its first request has its files
        found, downloaded and loaded, and gets the error if that fails. ``launch`` are launch parameters for the
        engine of the model that the settings name, as in a registry's ``params``. What ``recorder`` returns gets news
        of workers.

        Raises:
            SetupError: the registry, a setting or the model cannot be used.
            WorkerStartFailed: the engine could not load it.
        """
        budget = memory_budget(settings)
        ledger = Ledger(
            {**budget, **({MODELS: settings.max_models} if settings.max_models else {})},
            BurstLimits(requests=settings.burst_requests, seconds=settings.burst_seconds),
        )
        collection = cls(settings, Scheduler(ledger, recorder=recorder), budget)
        try:
            collection.registry.begin()
            named = launch.keys() - {PREFERS_FLOAT16}
            if named and collection.registry.current is not None and collection._registered() is not None:
                log.warning("launch_parameters_unused", names=sorted(named), reason="a registry's model has its own")
            if load:
                await collection._activate(on_download, on_progress, launch)
            else:
                collection._activate_unloaded(launch)
            await collection.created.restore()
        except BaseException:
            await collection.stop(0)
            raise
        return collection

    async def _activate(
        self, on_download: DownloadProgress | None, on_progress: ProgressCallback | None, launch: Mapping[str, Any]
    ) -> None:
        self._active = self._registered()
        if self._active is None and self._is_named():
            self.registry.main = single_entry(self._settings, launch=launch)
            # Its worker starts at once, without another look at its files: the host then imports what answers, which
            # takes as long as a small model takes to load, and would delay that look.
            found = await self._find(self.registry.main, on_download)
            self._active = self.scheduler.add(self.registry.main, found, is_loaded_next=True)
        if self._active is None:
            return
        if self._is_named():
            await self._load_unless_away(self._active, on_progress)
        else:
            await self.scheduler.load(self._active)

    async def _find(self, entry: ModelEntry, on_download: DownloadProgress | None) -> Resolved:
        return await find_with_progress(
            entry, on_download, headroom=self.scheduler.ledger.occupancy.headroom(entry.name)
        )

    def _activate_unloaded(self, launch: Mapping[str, Any]) -> None:
        self._active = self._registered()
        if self._active is None and self._is_named():
            has_name = self._settings.alias or is_url(self._settings.model)
            name = None if has_name else name_of(self._settings.model, engine=self._settings.engine)
            self.registry.main = single_entry(self._settings, name, launch)
            self._active = self.scheduler.add(self.registry.main)

    def _registered(self) -> HostedModel | None:
        """Return the entry of the registry that the settings name, else its default."""
        return self.scheduler.names.get(self._settings.model) if self._settings.model else self.registry.default

    def _is_named(self) -> bool:
        """Whether the settings say which model it is to be: without a registry they mean the bundled one."""
        return self._settings.model is not None or self.registry.current is None

    async def _load_unless_away(self, model: HostedModel, on_progress: ProgressCallback | None) -> None:
        """Load a model; one whose server cannot be reached now is left to the first request for it."""
        try:
            await self._load_with_progress(model, on_progress)
        except WorkerStartFailed as error:
            if error.details.get("reason") != UNREACHABLE:
                raise

    async def _load_with_progress(self, model: HostedModel, on_progress: ProgressCallback | None) -> None:
        if on_progress is None:
            await self.scheduler.load(model, wait=True)
            return
        forwarding = asyncio.create_task(self._forward_progress(model, on_progress))
        try:
            await self.scheduler.load(model, wait=True)
        finally:
            await cancel_and_wait(forwarding)

    async def _forward_progress(self, model: HostedModel, on_progress: ProgressCallback) -> None:
        async with self.scheduler.events() as events:
            async for event in events.read():
                if event.model == model.name and event.activity == "load":
                    on_progress(event.progress or 0.0)

    async def stop(self, drain_seconds: float) -> None:
        """Let requests at work finish, end all workers, watch the registry no more."""
        await self.registry.stop()
        await cancel_and_wait(self._refreshing)
        await self._previews.stop()
        await self.added.stop()
        await self.scheduler.stop(drain_seconds)

    # The models.

    @property
    def models(self) -> tuple[HostedModel, ...]:
        """All of them, the active one first."""
        known = list(dict.fromkeys(self.scheduler.names.values()))
        active = self.active
        return tuple(sorted(known, key=lambda model: model is not active))

    @property
    def loaded(self) -> tuple[tuple[str, Worker], ...]:
        """The workers, each with the main name of its model."""
        return tuple((model.name, model.worker) for model in self.models if model.worker is not None)

    @property
    def active(self) -> HostedModel | None:
        """The model of requests that name none: the selected one, else the registry's default, else its first."""
        if self._active is not None:
            return self._active
        return self.registry.default or next(iter(self.scheduler.names.values()), None)

    def _follow_registry(self) -> None:
        self._forget_removed()
        if self.created.records:
            self._refreshing = asyncio.create_task(self._refresh_created(), name=REFRESHING)

    async def _refresh_created(self) -> None:
        with log_failures(REFRESHING):
            await self.created.refresh()

    def _forget_removed(self) -> None:
        if self._active is not None and self._active.name not in self.scheduler.names:
            self._active = None

    def find(self, name: str | None) -> HostedModel:
        """Return the model called ``name``, be it with an adapter behind a colon; without a name the active one.

        Ollama's clients, which list models with the tag ``latest``, use these names at the other doors, too.

        Raises:
            ModelNotFound: with the names that there are.
        """
        model = self.scheduler.names.get(name) if name is not None else self.active
        if model is None and name in (None, DEFAULT_NAME):
            model = self.active
        if model is None and name is not None:
            model = self._with_adapter(name)
        if model is None and name is not None:
            model = self._by_pattern(name)
        if model is None:
            raise not_found(name, self.scheduler.names)
        return model

    def _by_pattern(self, name: str) -> HostedModel | None:
        for pattern, model in self._settings.model_patterns.items():
            if fnmatchcase(name, pattern):
                return self.active if model == ACTIVE else self.scheduler.names.get(model)
        return None

    def _with_adapter(self, name: str) -> HostedModel | None:
        """Return the model that ``name`` is of with an adapter or Ollama's tag behind a colon; ``None``: of none."""
        own, _, adapter = name.rpartition(":")
        model = self.scheduler.names.get(own) or (self.active if own == DEFAULT_NAME else None)
        if model is None or adapter == LATEST:
            return model
        if not model.adapter_names:
            return None
        if adapter not in model.adapter_names:
            raise adapter_not_found(name, model.name, model.adapter_names)
        return model

    async def find_or_add(self, name: str, *, on_progress: DownloadProgress) -> HostedModel:
        """Return the model called ``name``, else the one that it names, once that is one of the host's.

        Raises:
            ModelNotFound, ModelNotAllowed, SetupError, ShuttingDown: as :meth:`AddedModels.add` has them.
        """
        try:
            return self.find(name)
        except ModelNotFound:
            return await self.added.add(name, on_progress)

    def select(self, name: str) -> Selected:
        """Make a model the active one, and have it loaded."""
        model = self.find(name)
        is_ready = self.is_loaded(model)
        was_active = model is self.active
        self._active = model
        record = self.scheduler.ledger.record(model.name)
        queue_length = len(record.queue)
        if is_ready:
            self._selection = None
            return Selected(
                status="already_active" if was_active else "ready", model=model.name, queue_length=queue_length
            )
        self._selection = _Selection(model=model, at=time.time(), loads=record.loads)
        self.scheduler.request_load(model)
        return Selected(status="switching", model=model.name, queue_length=queue_length)

    def configure(self, name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Overlay the request defaults of a model, ``None`` takes one away; return what is in force.

        Raises:
            InvalidRequest: an unknown field, a value out of its range, or one that the model's engine cannot have.
        """
        model = self.find(name)
        given = parse_defaults(values)
        if model.resolved is not None and (problems := default_problems(given, model.engine)):
            raise InvalidRequest(f"{'; '.join(problems)}.", param=next(iter(given)) if len(given) == 1 else None)
        self.scheduler.set_overrides(model, {**model.overrides, **given})
        return model.defaults

    def is_loaded(self, model: HostedModel) -> bool:
        """Whether the model can answer at once."""
        return self.scheduler.status(model).state in (State.READY, State.BUSY)

    async def load(
        self,
        model: HostedModel,
        config: LoadConfig | None = None,
        *,
        persists: bool = False,
        force: bool = False,
        wait: bool = False,
    ) -> LoadEstimate:
        """Have a model loaded, with ``config`` as :meth:`Scheduler.load_with` has it, else as it is."""
        if config is None:
            return await self.scheduler.load(model, wait=wait)
        return await self.scheduler.load_with(model, config, persists=persists, force=force, wait=wait)

    def keep(self, model: HostedModel, seconds: float | None) -> None:
        """Have the worker of a model unloaded once it is idle for ``seconds`` from now, as :meth:`Scheduler.keep`."""
        self.scheduler.keep(model, seconds)

    def lease(self, model: HostedModel, on_queued: OnQueued | None = None) -> AbstractAsyncContextManager[Worker]:
        """Lend the model's worker out for one turn; raises as :meth:`Scheduler.lease` does."""
        return self.scheduler.lease(model, on_queued)

    def replace_overrides(self, name: str, values: Mapping[str, Any]) -> None:
        """Put checked ``values`` in the place of all that :meth:`configure` has overlaid."""
        self.scheduler.set_overrides(self.find(name), dict(values))

    async def refresh_previews(self, *, is_patient: bool = False) -> None:
        """Have :meth:`status` know the models that are not loaded, too, as far as their files are here.

        Waits no longer than a moment, unless it ``is_patient``.
        """
        await self._previews.refresh(None if is_patient else LONGEST_WAIT_SECONDS)

    async def gpu_utilization(self, name: str) -> float | None:
        """Return the part of the last moment in which the GPUs of a model computed, 0 to 1; ``None``: it is on none."""
        model = self.find(name)
        if model.worker is None:
            return None
        taken = model.memory or {}
        pools = taken.keys() | (model.resolved.need_bytes.keys() if model.resolved else set())
        return await asyncio.to_thread(utilization, gpus_in(pools))

    def status(self) -> HostStatus:
        active = self.active
        models = tuple(self.scheduler.status(model) for model in self.models)
        selection = self._selection
        is_coming = selection is not None and selection.model is active and selection.loads == models[0].loads
        return HostStatus(
            models=models,
            active_model=active.name if active else None,
            switch_requested_at=selection.at if selection is not None and is_coming else None,
            budget_bytes=self._budget,
            used_bytes=self.scheduler.ledger.occupancy.used(),
            max_models=self._settings.max_models,
            registry=str(self.registry.current.path) if self.registry.current else None,
            registry_error=self.registry.error,
        )

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """News of the models for one listener, first the state of each; they end when the host stops."""
        async with self.scheduler.events() as listener:
            yield listener.read()

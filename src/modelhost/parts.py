"""The parts of a host: made, started in the right order, and stopped in the reverse one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelhost import lazy, logs
from modelhost.config import environment
from modelhost.config.alerts import alert_rules
from modelhost.config.settings import Settings
from modelhost.config.value_types import parse_levels
from modelhost.log_file import Clock
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.registry.admission import Admission
from modelhost.models.residency.collection import ModelCollection
from modelhost.monitor.efficiency import Efficiency
from modelhost.monitor.engine_meters import EngineMeters
from modelhost.tracing.wanted import WantedTraces, wanted_traces
from modelhost.workers.gpu_stats import energy_joules
from modelhost.workers.process import ProgressCallback

if TYPE_CHECKING:
    from modelhost.chat.answering import Answering
    from modelhost.monitor.alerts.service import Alerts
    from modelhost.monitor.monitor import Monitor
    from modelhost.persistence.saved_state import Persistence
    from modelhost.state.store import StateStore
    from modelhost.tools.callbacks import Sampler
    from modelhost.tools.toolbox import Toolbox
    from modelhost.tracing.otlp import Export

Part = TypeVar("Part")


class HostParts:
    """The parts of :class:`~modelhost.host.Host`, and their order."""

    def __init__(self, settings: Settings, sampler: Sampler) -> None:
        """Take the settings; ``sampler`` answers MCP servers that ask for a model's answer."""
        self.settings = settings
        self._sampler = sampler
        self._collection: ModelCollection | None = None
        self._toolbox: Toolbox | None = None
        self._answering: Answering | None = None
        self._alerts: Alerts | None = None
        self._engine_meters: EngineMeters | None = None
        self._wanted_traces: WantedTraces | None = None
        self._traces: Export | None = None

    async def _start_parts(
        self,
        on_download: DownloadProgress | None,
        on_progress: ProgressCallback | None,
        while_loading: Callable[[], object],
        *,
        load: bool,
        launch: Mapping[str, Any],
    ) -> None:
        """Start them as :meth:`~modelhost.host.Host.start` says; after an error, nothing is left running."""
        worker_loads = asyncio.Event()  # or there is nothing to load, or that has failed

        def progressed(fraction: float) -> None:
            worker_loads.set()
            if on_progress is not None:
                on_progress(fraction)

        loading: asyncio.Future[ModelCollection] | None = None
        try:
            self._wanted_traces = wanted_traces(self.settings, environment.current())
            if self.settings.database_url is not None:
                await self.state.open()  # errors of a configured database are raised at once
            if self.settings.mcp_config is not None:
                # MCP servers first: they connect while the model is loaded.
                await self._start_tools(Path(self.settings.mcp_config))
            starting = ModelCollection.start(
                self.settings,
                on_download=on_download,
                on_progress=progressed,
                load=load,
                launch=launch,
                recorder=lambda: self.monitor,
            )
            loading = asyncio.ensure_future(starting)
            loading.add_done_callback(lambda _: worker_loads.set())
            await worker_loads.wait()
            await self._prepare()
            while_loading()
            self._collection = await loading
            self._start_alerts(self._collection)
        except BaseException:
            try:
                await self._give_up(loading)
            finally:
                await self._close_state()
            raise

    def _start_alerts(self, collection: ModelCollection) -> None:
        self._alerts = lazy.alerting.alerts_of(self.settings, self.state, collection, self.toolbox, self.monitor)
        self._alerts.start()
        self._engine_meters = EngineMeters(self.monitor, lambda: collection.loaded)
        self._engine_meters.start()
        self.efficiency.start()

    async def _give_up(self, loading: asyncio.Future[ModelCollection] | None) -> None:
        """Stop what a failed start has begun."""
        if loading is not None:
            loading.cancel()
            await asyncio.wait([loading])
            if not loading.cancelled() and loading.exception() is None:
                await loading.result().stop(0)
        if self._toolbox is not None:
            await self._toolbox.stop()

    async def _start_tools(self, path: Path | None) -> None:
        self._toolbox = await lazy.toolbox.Toolbox.start(path, environment.current(), sampler=self._sampler)
        if self.settings.wait_for_tools == "ready":
            await self._toolbox.settled()

    async def _prepare(self) -> None:
        """Import what answers need, which takes as long as a small model takes to load."""
        webhooks = ("httpx2",) if self.settings.alert_webhook else ()
        lazy.preload("answering", "monitoring", "saved_state", "state_store", "alerting", *webhooks)
        if self._wanted_traces is not None:
            self._traces = lazy.otlp.begin(self._wanted_traces)
        if self.settings.mcp_config is None:
            await self._start_tools(None)
        self.monitor.start()
        self._answering = lazy.answering.Answering(self.settings, lambda: self.collection, self.toolbox, self.state)

    def apply_settings(self, settings: Settings) -> None:
        """Apply the ``allow_models`` and the ``alerts`` of ``settings`` from now on."""
        if self._collection is not None:
            self._collection.added.admission = Admission.of(settings)
        if self._alerts is not None:
            self._alerts.apply_rules(alert_rules(settings.alerts))

    def reread(self) -> None:
        """Reload the model registry and the file of MCP servers at once."""
        if self._collection is not None:
            self._collection.registry.reread()
        if self._toolbox is not None:
            self._toolbox.reread()

    async def _stop_parts(self, drain_seconds: float) -> None:
        """Let requests in flight finish, for ``drain_seconds`` at most, then stop the workers and the others."""
        await self.persistence.stop()
        if self._alerts is not None:
            await self._alerts.stop()
        if self._engine_meters is not None:
            await self._engine_meters.stop()
            await self.efficiency.stop()
        if self._collection is not None:
            await self._collection.stop(drain_seconds)
        if self._toolbox is not None:
            await self._toolbox.stop()
        await self._close_state()

    async def _close_state(self) -> None:
        """Close what records requests, after the last of them."""
        if "monitor" in vars(self):
            await self.monitor.close()
        await self.state.close()
        if self._traces is not None:
            await self._traces.end()
            self._traces = None

    @cached_property
    def state(self) -> StateStore:
        """Sessions, saved states and the audit log; the database is opened when it is first needed."""
        return lazy.state_store.StateStore(self.settings)

    @cached_property
    def monitor(self) -> Monitor:
        """Records requests and loads, and keeps their history."""
        store, levels = self.state.metrics, lazy.monitoring.levels_of(parse_levels(self.settings.metrics_history))
        return lazy.monitoring.Monitor(
            store, levels, source=store.source, cache_seconds=self.settings.metrics_cache_seconds
        )

    @cached_property
    def efficiency(self) -> Efficiency:
        """How many tokens are generated with a joule of the GPUs."""
        return Efficiency(lambda: self.monitor.generated_tokens, energy_joules)

    @cached_property
    def persistence(self) -> Persistence:
        """Saves and restores models and sessions."""
        return lazy.saved_state.Persistence(self.state, lambda: self.collection)

    @property
    def answering(self) -> Answering:
        """Answers requests; raises RuntimeError before the start, as do those below."""
        return _started(self._answering, "answers")

    @property
    def alerts(self) -> Alerts:
        """The alerts that are active, and their history."""
        return _started(self._alerts, "has alerts")

    @property
    def collection(self) -> ModelCollection:
        """The models."""
        return _started(self._collection, "has models")

    @property
    def toolbox(self) -> Toolbox:
        """The MCP servers and their file."""
        return _started(self._toolbox, "has tools")


def _started(part: Part | None, what: str) -> Part:
    if part is None:
        raise RuntimeError(f"a modelhost.Host {what} once it is started: use it with `async with`")
    return part


def log_to_file(settings: Settings, clock: Clock = time.time) -> AbstractContextManager[None]:
    """Write the log to the file of ``settings``, if there is one; raises ConfigError if it cannot be written."""
    return logs.log_to_file(
        settings.log_file, settings.log_level, settings.log_format, with_contents=settings.log_prompts, clock=clock
    )

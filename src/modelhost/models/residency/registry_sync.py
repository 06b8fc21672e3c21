"""The registry in force: models are kept to what its file says now, and looked at again before they are loaded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path

from modelhost.background import SECONDS_TO_REPAIR, cancel_and_wait, log_failures
from modelhost.config.fields import secrets_in
from modelhost.config.paths import expand_home
from modelhost.config.settings import Settings
from modelhost.errors import ConfigError, ModelhostError
from modelhost.logs import get_logger
from modelhost.meters import METERS
from modelhost.models.files.model_files import are_unchanged
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.registry import Registry, read_registry, watch_registry
from modelhost.models.residency.added import AddedModels
from modelhost.models.residency.hosted import HostedModel, Preview
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.residency.status import ModelEvent
from modelhost.models.resolve.finding import resolve_found
from modelhost.models.resolve.resolve import files_here
from modelhost.redaction import hide

log = get_logger(__name__)


class RegistrySync:
    """Adds, changes and removes models of ``scheduler`` as the registry file does. To be stopped.

    ``on_applied`` is called when another version of the file is in force.
    """

    def __init__(
        self, scheduler: Scheduler, settings: Settings, added: AddedModels, on_applied: Callable[[], None]
    ) -> None:
        self.current: Registry | None = None
        self.error: str | None = None
        """Why the file as it stands is not in force."""
        self.main: ModelEntry | None = None
        """The model of the settings themselves, which no registry file takes away."""
        self.added = added
        self._scheduler = scheduler
        self._settings = settings
        self._on_applied = on_applied
        self._again = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Put the file that the settings name in force, if they name one, and every later version of it.

        Raises:
            ConfigError: it cannot be used.
        """
        if not self._settings.models_config:
            return
        registry = read_registry(expand_home(self._settings.models_config), self._settings)
        self.apply(registry)
        assert registry.path is not None
        self._watching = asyncio.create_task(self._watch(registry.path), name="watching the registry")

    async def stop(self) -> None:
        await cancel_and_wait(self._watching)

    def reread(self) -> None:
        self._again.set()

    @property
    def default(self) -> HostedModel | None:
        """The model that the registry names for requests that name none."""
        name = self.current.default if self.current else None
        return None if name is None else self._scheduler.names.get(name)

    def apply(self, registry: Registry) -> None:
        """Put ``registry`` in force: new entries come, changed ones change, those that are gone go."""
        self.current, self.error = registry, None
        METERS.registry_ok.set(1)
        for warning in registry.warnings:
            log.warning("registry", warning=warning)
        hide(secret for entry in registry.entries for secret in secrets_in(entry.settings))
        self.added.forget({name for entry in registry.entries for name in (entry.name, *entry.aliases)})
        remaining = {*self.added.entries, *(entry.name for entry in registry.entries)}
        if self.main is not None:
            remaining.add(self.main.name)
        for model in list(self._scheduler.names.values()):
            if model.name not in remaining and model.name in self._scheduler.names:
                self._scheduler.remove(model.name)
        for entry in registry.entries:
            if self.main is None or entry.name != self.main.name:
                self._scheduler.add(entry)
        if self.main is not None and self.main.name in self._scheduler.names:
            self._scheduler.add(self.main)  # its names are its own, whatever the file says
        self._on_applied()
        log.info("registry_in_force", path=str(registry.path), models=len(registry.entries))

    async def _watch(self, path: Path) -> None:
        """Follow the file; after a fault of the host from the beginning."""
        seen = self.current.digest if self.current else None
        while True:
            with log_failures("watching the registry", path=str(path)) as attempt:
                await self._follow(path, seen)
            self._announce(f"The registry file could not be watched: {attempt.fault}. It is tried again.")
            seen = None
            await asyncio.sleep(SECONDS_TO_REPAIR)

    async def _follow(self, path: Path, seen: str | None) -> None:
        async with aclosing(watch_registry(path, self._settings, seen=seen, again=self._again)) as readings:
            async for reading in readings:
                if isinstance(reading, ConfigError):
                    log.error("registry_refused", path=str(path), problems=reading.message)
                    self._announce(reading.message)
                else:
                    self.apply(reading)
                    self._announce(None)

    def _announce(self, error: str | None) -> None:
        self.error = error
        METERS.registry_ok.set(0 if error else 1)
        self._scheduler.changes.feed.publish(ModelEvent(at=time.time(), kind="registry", model="", message=error))


def inspect_files(entry: ModelEntry) -> Preview:
    """Return what the files of ``entry`` say; nothing is downloaded or started. Blocks: call it in a thread."""
    resolved = None
    try:
        located = files_here(entry.settings)
        if located is not None:
            resolved, _ = resolve_found(entry, located)
            resolved.engine.launch(resolved.spec, "")  # which refuses what the engine cannot honour
    except ModelhostError as error:
        return Preview(resolved=resolved, error=error)
    return Preview(resolved=resolved)


TASK = "looking at the files of models"
LONGEST_WAIT_SECONDS = 2.0
"""How long a caller waits: finding out whether PyTorch finds a GPU takes longer, where there is one."""


class Previews:
    """Inspects the files of ``models`` that are not loaded, in a thread. ``on_preview`` takes what each has shown."""

    def __init__(
        self,
        models: Mapping[str, HostedModel],
        on_preview: Callable[[HostedModel, Preview], None],
        inspect: Callable[[ModelEntry], Preview] = inspect_files,
    ) -> None:
        self._models = models
        self._on_preview = on_preview
        self._inspect = inspect
        self._task: asyncio.Task[None] | None = None

    async def refresh(self, longest_seconds: float | None = LONGEST_WAIT_SECONDS) -> None:
        """Inspect the files of each model that is not loaded; return when that is done, or after ``longest_seconds``.

        Files that could not be read are inspected again each time, since what repairs them may be anywhere; the rest
        when they have changed. Concurrent callers share one inspection.
        """
        if all(model.worker is not None for model in self._models.values()):
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._refresh(), name=TASK)
        await asyncio.wait([self._task], timeout=longest_seconds)

    async def stop(self) -> None:
        await cancel_and_wait(self._task)

    async def _refresh(self) -> None:
        unloaded = [model for model in self._models.values() if model.worker is None]
        for model in await asyncio.to_thread(lambda: [each for each in unloaded if not _is_current(each)]):
            entry, resolved = model.entry, model.resolved
            with log_failures(TASK, model=model.name):
                preview = await asyncio.to_thread(self._inspect, entry)
                if model.entry is entry and model.resolved is resolved:
                    self._on_preview(model, preview)


def _is_current(model: HostedModel) -> bool:
    is_sound = model.preview is None or model.preview.error is None
    known = model.known
    return is_sound and known is not None and are_unchanged(known.stamps)

"""The models that clients have added to a host while it runs.

They are gone when it ends, unless they are stored (:mod:`modelhost.models.residency.created`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from modelhost.config.settings import Settings
from modelhost.errors import InvalidRequest
from modelhost.logs import get_logger
from modelhost.models.hub.progress import DownloadProgress, FileProgress, SharedDownloads
from modelhost.models.hub.references import HubReference
from modelhost.models.registry.admission import Admission, reference_of
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.residency.status import ModelEvent, PulledModel
from modelhost.models.resolve.finding import find_with_progress, pull
from modelhost.models.resolve.resolved import Resolved

log = get_logger(__name__)

Find = Callable[[ModelEntry, DownloadProgress], Awaitable[Resolved]]
"""Finds the files of an entry, downloading them if necessary."""


class Pull(Protocol):
    """Brings the newest files of a model of the hub; returns the first."""

    async def __call__(
        self, reference: str, settings: Settings, *, revision: str | None, on_progress: DownloadProgress
    ) -> Path: ...


class AddedModels:
    """Adds models to those of ``scheduler``, with what ``settings`` say to all. To be stopped."""

    def __init__(
        self, scheduler: Scheduler, settings: Settings, *, find: Find = find_with_progress, pull: Pull = pull
    ) -> None:
        self.admission = Admission.of(settings)
        """What may be added from now on."""
        self._scheduler = scheduler
        self._settings = settings
        self._find = find
        self._pull = pull
        self._downloads = SharedDownloads()
        self._entries: dict[str, ModelEntry] = {}

    @property
    def entries(self) -> Mapping[str, ModelEntry]:
        """Those that were added, by their names."""
        return self._entries

    def forget(self, names: Collection[str]) -> None:
        """Forget the added models called ``names``: the registry has these names now."""
        self._entries = {name: entry for name, entry in self._entries.items() if name not in names}

    async def add(self, text: str, on_progress: DownloadProgress) -> HostedModel:
        """Return the model that ``text`` names, a hub id or a path: it is one of the host's once its files are here.

        A request for one that is being downloaded joins that download. It ends if nobody waits for it any more; what
        has arrived is kept. ``on_progress`` may be called from another thread.

        Raises:
            ModelNotAllowed, ModelNotFound: as :meth:`Admission.entry` has them.
            SetupError: it cannot be had, or not be used; nothing is added.
            ShuttingDown: the host is being stopped.
        """
        reference = reference_of(text)
        if reference is not None and (known := self._hosted(reference)):
            return known
        entry = await self._entry(text)
        if known := self._scheduler.names.get(entry.name):
            return known
        return await self._downloads.join(("load", entry.name), partial(self._found, entry), on_progress)

    def put(self, entry: ModelEntry) -> HostedModel:
        """Add the model of ``entry``, or change the added one of that name."""
        self._entries[entry.name] = entry
        return self._scheduler.add(entry)

    def remove(self, name: str) -> None:
        """Remove an added model: it is no longer found, and is gone after its last request."""
        del self._entries[name]
        if name in self._scheduler.names:
            self._scheduler.remove(name)

    async def pull(
        self, text: str, *, revision: str | None, on_progress: DownloadProgress, name: str | None = None
    ) -> PulledModel:
        """Download the newest files of a model of the hub, and add it to those of the host if it is none.

        It is then called ``name``, by default as on the hub.

        Raises:
            InvalidRequest: it is no hub id.
            ModelNotAllowed: it is none of the host's models, and may not be added.
            DownloadFailed, EngineMissing: the hub did not give it, or nothing here runs it.
            ShuttingDown: the host is being stopped.
        """
        reference = reference_of(text, revision)
        if reference is None:
            raise InvalidRequest(f'"{text}" is no hub id: those look like org/name or org/name:quant.', param="model")
        known = self._hosted(reference)
        if known is None:
            self.admission.check_hub(reference.id, self._scheduler.names)
        path = await self._downloads.join(("pull", reference.id), partial(self._pulled, reference), on_progress)
        if known is None:
            entry = named(self.admission.of_hub(reference, self._settings), name or reference.id)
            known = self._hosted(reference) or self._admit(entry)
        return PulledModel(name=known.name, path=path)

    async def stop(self) -> None:
        """End the downloads; nothing is added any more."""
        await self._downloads.stop()

    async def _entry(self, text: str) -> ModelEntry:
        entry_of = partial(self.admission.entry, text, self._settings, tuple(self._scheduler.names))
        return await asyncio.to_thread(entry_of) if self.admission.policy == "any" else entry_of()

    async def _found(self, entry: ModelEntry, report: DownloadProgress) -> HostedModel:
        resolved = await self._find(entry, self._report_to_all(entry.name, report))
        return self._admit(entry, resolved)

    async def _pulled(self, reference: HubReference, report: DownloadProgress) -> Path:
        on_progress = self._report_to_all(reference.id, report)
        return await self._pull(str(reference), self._settings, revision=reference.revision, on_progress=on_progress)

    def _admit(self, entry: ModelEntry, resolved: Resolved | None = None) -> HostedModel:
        if known := self._scheduler.names.get(entry.name):  # the registry was faster
            return known
        log.info("model_added", model=entry.name, source=entry.settings.model)
        self._entries[entry.name] = entry
        return self._scheduler.add(entry, resolved)

    def _hosted(self, reference: HubReference) -> HostedModel | None:
        """Return the model of the host that is ``reference``, whatever it is called."""
        for model in dict.fromkeys(self._scheduler.names.values()):
            if reference_of(model.entry.settings.model, model.entry.settings.revision) == reference:
                return model
        return None

    def _report_to_all(self, name: str, report: DownloadProgress) -> DownloadProgress:
        loop, feed = asyncio.get_running_loop(), self._scheduler.changes.feed

        def report_and_publish(progress: FileProgress) -> None:
            report(progress)
            if feed.has_subscribers:
                event = ModelEvent(
                    at=time.time(), kind="progress", model=name, activity="download", progress=progress.fraction
                )
                loop.call_soon_threadsafe(feed.publish, event)

        return report_and_publish


def named(entry: ModelEntry, name: str) -> ModelEntry:
    """Return ``entry`` as that of a model called ``name``."""
    if name == entry.name:
        return entry
    return replace(entry, name=name, settings=entry.settings.model_copy(update={"alias": (name,)}))

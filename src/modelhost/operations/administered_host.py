"""What the operations need of a host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from modelhost.engines.load_config import LoadConfig
from modelhost.models.residency.status import (
    HostStatus,
    LoadEstimate,
    ModelEvent,
    ModelLog,
    PulledModel,
    Selected,
    Unloaded,
)


class Named(Protocol):
    """A model of the host."""

    @property
    def name(self) -> str:
        """Its main name."""


class FileStep(Protocol):
    """How far a download is; ``part`` of ``parts`` counts from 1."""

    @property
    def file(self) -> str:
        """The one that is being transferred."""

    @property
    def part(self) -> int: ...
    @property
    def parts(self) -> int: ...
    @property
    def fraction(self) -> float:
        """Of all parts, from 0 to 1."""


class OnFileStep(Protocol):
    """Told about each step of a download, from the thread that downloads."""

    def __call__(self, progress: FileStep) -> None: ...


class AdministeredHost(Protocol):
    """The host as the operations see it. Names may be aliases; values say the main name."""

    def status(self) -> HostStatus:
        """Return what is the case now."""

    async def refresh_previews(self) -> None:
        """Have :meth:`status` know the models that are not loaded as their files are now; downloads nothing."""

    async def gpu_utilization(self, name: str) -> float | None:
        """Return the part of the last moment in which the GPUs of a model computed, 0 to 1; ``None``: it is on none."""

    def find(self, name: str | None) -> Named:
        """Return the model called ``name``, without a name the active one; raises ``ModelNotFound``."""

    async def find_or_add(self, name: str, *, on_progress: OnFileStep) -> Named:
        """Return the model called ``name``; one that the host does not have is downloaded and added.

        Raises:
            ModelNotFound, ModelNotAllowed: no such model, or none that may be added.
            SetupError: it cannot be had, or not be used; nothing is added.
        """

    def model_log(self, name: str) -> ModelLog:
        """Return what a model's worker wrote last, and what happened to the model."""

    async def load(
        self, name: str, *, config: LoadConfig, persist: bool = False, force: bool = False, wait: bool = False
    ) -> LoadEstimate:
        """Begin to load a model with ``config``, or join its load; return at once, or with ``wait`` when it is ready.

        ``persist``: later loads have ``config`` too. ``force`` cuts off the requests of a worker that is replaced.

        Raises:
            InvalidRequest, UnsupportedParameter: the model or its engine cannot be so.
        """

    async def unload(self, name: str, *, force: bool = False) -> Unloaded:
        """End a model's worker; raises ``ModelBusy`` if it has requests in flight and is not to be forced."""

    def select(self, name: str) -> Selected:
        """Make a model the one that answers requests without a name."""

    def configure(self, name: str, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        """Overlay the request defaults of a model (``None`` takes one away); return what is in force afterwards.

        Raises:
            InvalidRequest, UnsupportedParameter: a value or a field that the model's requests could not hold either.
        """

    async def pull(self, reference: str, *, revision: str | None, on_progress: OnFileStep) -> PulledModel:
        """Download a model from the hub, and add it to those of the host.

        Raises:
            InvalidRequest, ModelNotAllowed: no hub id, or a model that may not be added.
            DownloadFailed, EngineMissing: it cannot be had, or not be used.
        """


class EventSource(Protocol):
    """Whoever tells what happens to the models."""

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[ModelEvent]]:
        """Tell one listener the state of each model, then every change; ends when the host stops.

        A slow listener delays nobody, and misses nothing but what newer events of the same model made needless.
        """

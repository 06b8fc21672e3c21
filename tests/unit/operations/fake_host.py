"""A host without workers: what the operations and the faces need of one, with everything in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from modelhost.config.settings import Settings
from modelhost.engines.load_config import LoadConfig
from modelhost.errors import DownloadFailed, ModelBusy, ModelNotFound
from modelhost.events import EventBus
from modelhost.exchange.caller import Authorise, admit
from modelhost.models.hub.progress import DownloadProgress, FileProgress
from modelhost.models.residency.status import (
    HostStatus,
    LoadEstimate,
    ModelEvent,
    ModelLog,
    ModelStatus,
    PulledModel,
    Selected,
    State,
    Unloaded,
)
from modelhost.monitor.efficiency import Efficiency
from modelhost.state.records import AuditEntry
from tests.support.metric_history import memory_monitor

NOW = 1_767_225_600.0


def model_status(name: str, state: State = State.UNLOADED, **more: Any) -> ModelStatus:
    known: dict[str, Any] = {"aliases": (), "engine": "llamacpp", "need_bytes": {"ram": 120_000_001}}
    return ModelStatus(name=name, state=state, **{**known, **more})


def ready(name: str, **more: Any) -> ModelStatus:
    known = {
        "memory_bytes": {"ram": 100_000_000, "gpu:0": 50_000_000},
        "context_length": 2048,
        "slots": 4,
        "loaded_at": NOW,
        "loads": 1,
        "operations": ("chat", "completions", "tokenize"),
    }
    return model_status(name, State.READY, **{**known, **more})


async def no_energy() -> None:
    """Report no energy, as a machine without GPUs."""


@dataclass(frozen=True)
class Found:
    name: str
    worker: None = None


class FakeHost:
    """Loads and unloads at once; events are what a test tells."""

    def __init__(self, *models: ModelStatus, **settings: Any) -> None:
        self.settings = Settings.model_validate(settings)
        self.statuses = {model.name: model for model in models or (ready("first", aliases=("one",)),)}
        self.active = next(iter(self.statuses))
        self.switch_requested_at: float | None = None
        self.budget: Mapping[str, int] = {"ram": 1_000_000_000}
        self.asked: list[tuple[Any, ...]] = []
        self.configs: list[tuple[LoadConfig, bool, bool]] = []
        """What loads were asked for: configuration, whether it is to stay, whether by force."""
        self.feed = EventBus()
        self.is_ready = True
        self.looks = 0
        self.gpu_utilizations: dict[str, float] = {}
        self.audited: list[AuditEntry] = []
        self.authorise: Authorise = admit
        self.monitor = memory_monitor()
        self.efficiency = Efficiency(lambda: self.monitor.generated_tokens, no_energy)

    @property
    def models(self) -> tuple[Found, ...]:
        return tuple(Found(name) for name in self.statuses)

    def status(self) -> HostStatus:
        return HostStatus(
            models=tuple(self.statuses.values()),
            active_model=self.active,
            switch_requested_at=self.switch_requested_at,
            budget_bytes=self.budget,
            used_bytes={"ram": 120_000_001},
            max_models=None,
        )

    async def refresh_previews(self) -> None:
        self.looks += 1

    async def gpu_utilization(self, name: str) -> float | None:
        return self.gpu_utilizations.get(name)

    def note(self, entry: AuditEntry) -> None:
        self.audited.append(entry)

    def find(self, name: str | None) -> Found:
        for model in self.statuses.values():
            if name in {None, model.name, *model.aliases}:
                return Found(model.name)
        raise ModelNotFound(f'There is no model "{name}" here.', param="model", model=name)

    def model_label(self, name: str) -> str:
        return next((model.name for model in self.statuses.values() if name in {model.name, *model.aliases}), "")

    async def find_or_add(self, name: str, *, on_progress: DownloadProgress) -> Found:
        """Add what looks like an id of the hub."""
        if "/" in name and name not in self.statuses:
            self.asked.append(("add", name))
            for done in (0, 50, 100):
                on_progress(FileProgress(file="a.gguf", done_bytes=done, total_bytes=100, part=1, parts=1))
            self.statuses[name] = model_status(name)
        return self.find(name)

    def model_log(self, name: str) -> ModelLog:
        events = (ModelEvent(at=NOW, kind="state", model=name, state=self.statuses[name].state),)
        return ModelLog(lines=tuple(f"line {number}" for number in range(300)), events=events)

    async def load(
        self,
        name: str,
        *,
        config: LoadConfig = LoadConfig(),  # noqa: B008 (it is frozen)
        persist: bool = False,
        force: bool = False,
        wait: bool = False,
    ) -> LoadEstimate:
        self.asked.append(("load", name, wait))
        self.configs.append((config, persist, force))
        self.change(name, State.READY if wait else State.LOADING)
        return LoadEstimate(
            model=name,
            state=self.statuses[name].state,
            estimated_seconds=1.2345,
            need_bytes={"ram": 120_000_001},
            position=None,
        )

    async def unload(self, name: str, *, force: bool = False) -> Unloaded:
        self.asked.append(("unload", name, force))
        model = self.statuses[name]
        if model.in_flight and not force:
            raise ModelBusy(f"{name} has {model.in_flight} requests in flight.", model=name)
        self.change(name, State.UNLOADED)
        return Unloaded(model=name, freed_bytes=model.memory_bytes or {})

    def select(self, name: str) -> Selected:
        is_active, self.active = self.active == name, name
        return Selected(status="already_active" if is_active else "switching", model=name, queue_length=2)

    def configure(self, name: str, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        merged = {**self.statuses[name].defaults, **defaults}
        in_force = {key: value for key, value in merged.items() if value is not None}
        self.statuses[name] = replace(self.statuses[name], defaults=in_force)
        return in_force

    async def pull(self, reference: str, *, revision: str | None, on_progress: DownloadProgress) -> PulledModel:
        self.asked.append(("pull", reference, revision))
        if "nothing" in reference:
            raise DownloadFailed(f"There is no {reference} on the hub.")
        for done in (0, 50, 100):
            on_progress(FileProgress(file="a.gguf", done_bytes=done, total_bytes=100, part=1, parts=2))
        return PulledModel(name=reference, path=Path("/models/a.gguf"))

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        known = self.statuses.values()
        first = [ModelEvent(at=NOW, kind="state", model=model.name, state=model.state) for model in known]
        listener = self.feed.subscribe(first)
        try:
            yield listener.read()
        finally:
            self.feed.unsubscribe(listener)

    def change(self, name: str, state: State) -> None:
        self.statuses[name] = replace(self.statuses[name], state=state)
        self.feed.publish(ModelEvent(at=NOW, kind="state", model=name, state=state))

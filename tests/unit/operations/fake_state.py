"""A host without workers that keeps things in a real database: what the operations on sessions and states need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from modelhost.config.settings import Settings
from modelhost.errors import ModelFailed, ModelNotFound
from modelhost.models.hub.progress import DownloadProgress, FileProgress
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.status import ModelStatus, State
from modelhost.persistence.saved_state import Persistence
from modelhost.state.records import AuditEntry, Message
from modelhost.state.store import StateStore
from tests.unit.operations.fake_host import FakeHost, model_status, ready


@dataclass(eq=False)
class FakeModel:
    name: str
    worker: object | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    slots: int | None = 2
    fails: bool = False
    may_load: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class FakeCache:
    size_bytes: int
    fingerprint: str


class FakeCollection:
    """Loads a model when its ``may_load`` is set, and adds those in ``hub``. A cache holds its conversation as text."""

    def __init__(self, *models: FakeModel) -> None:
        self.models = models
        self.active: FakeModel = models[0]
        self.hub: list[FakeModel] = []
        self.added = SimpleNamespace(entries={})
        self.asked_for_caches: list[str] = []
        self.restored: list[tuple[str, str]] = []

    def find(self, name: str | None) -> FakeModel:
        for model in (self.active, *self.models):
            if name in (None, model.name):
                return model
        raise ModelNotFound(f"no {name}", param="model")

    async def find_or_add(self, name: str, *, on_progress: DownloadProgress) -> FakeModel:
        on_progress(FileProgress(file="a.gguf", done_bytes=1, total_bytes=1, part=1, parts=1))
        for model in self.hub:
            if model.name == name:
                self.models = (*self.models, model)
                self.added.entries[name] = model
        return self.find(name)

    def status(self, model: FakeModel) -> ModelStatus:
        return model_status(model.name, State.UNLOADED if model.worker is None else State.READY)

    def is_loaded(self, model: FakeModel) -> bool:
        return model.worker is not None

    async def load(self, model: FakeModel, *, wait: bool) -> None:
        assert wait
        if model.worker is not None:
            return
        await model.may_load.wait()
        if model.fails:
            raise ModelFailed(f"{model.name} cannot be loaded.")
        model.worker = object()

    def select(self, name: str) -> None:
        self.active = self.find(name)

    def replace_overrides(self, name: str, values: Mapping[str, Any]) -> None:
        self.find(name).overrides = dict(values)

    @property
    def prompt_caches(self) -> FakeCollection:
        return self

    async def save(self, model: FakeModel, messages: Sequence[Message], path: Path) -> FakeCache | None:
        self.asked_for_caches.append(model.name)
        said = str(messages[0]["content"])
        if said == "not in a slot":
            return None
        path.write_text(said, "utf-8")  # noqa: ASYNC240
        return FakeCache(size_bytes=len(said), fingerprint=model.name)

    async def restore(self, model: FakeModel, path: Path, fingerprint: str) -> bool:
        self.restored.append((model.name, path.read_text("utf-8")))  # noqa: ASYNC240
        return fingerprint == model.name


class FakeStateHost(FakeHost):
    """With a database in ``folder``."""

    def __init__(self, folder: Path, *models: FakeModel, **settings: Any) -> None:
        super().__init__(ready("qwen"), **settings)
        self.collection = FakeCollection(*(models or (FakeModel("qwen", worker=object()),)))
        self.state: Any = StateStore(Settings.model_validate({"data_dir": str(folder), **settings}))
        self.persistence = Persistence(self.state, lambda: cast("ModelCollection", self.collection))

    def note(self, entry: AuditEntry) -> None:
        self.state.audit.note(entry)

    async def say(self, session_id: str, *texts: str, model: str | None = "qwen") -> None:
        """Add messages to a session, in turn of the user and of the model."""
        roles = ("user", "assistant")
        messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]
        async with self.state.sessions.hold(session_id) as held:
            await held.append(messages, model=model)

    async def texts(self, session_id: str) -> list[str]:
        session = await self.state.sessions.get(session_id)
        return [message["content"] for message in session.messages]


@asynccontextmanager
async def state_host(folder: Path, *models: FakeModel, **settings: Any) -> AsyncIterator[FakeStateHost]:
    host = FakeStateHost(folder, *models, **settings)
    try:
        yield host
    finally:
        await host.persistence.stop()
        await host.state.close()

"""Nano on the real engine, in a worker process of its own, spoken to as the host does; and conversations to have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from modelhost.config.settings import Settings
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.prompt_caches import SavedCache
from modelhost.workers.worker import Worker

Messages = list[dict[str, Any]]
NEW_TOKENS = 40
"""More than the marks of a template and a short question take, and far less than any history here."""


class Engine:
    """A model of a collection, spoken to like an engine."""

    def __init__(self, collection: ModelCollection) -> None:
        self.collection = collection
        self.model: HostedModel = collection.find(None)

    @property
    def worker(self) -> Worker:
        assert self.model.worker is not None
        return self.model.worker

    async def answer(self, messages: Sequence[dict[str, Any]], **parameters: Any) -> dict[str, Any]:
        body = {"model": self.model.name, "messages": list(messages), "max_tokens": 12, "temperature": 0, **parameters}
        async with self.collection.scheduler.lease(self.model) as worker:
            answer: dict[str, Any] = await worker.call("chat", self.model.engine.adapt("chat", body))
        return answer

    async def talk(self, messages: Messages, *questions: str, **parameters: Any) -> int:
        """Ask on and keep the answers; return how many tokens of the last prompt had to be evaluated."""
        new = 0
        for question in questions:
            messages.append({"role": "user", "content": question})
            answer = await self.answer(messages, **parameters)
            messages.append(answer["choices"][0]["message"])
            usage = answer["usage"]
            new = usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
        return new

    async def save(self, messages: Messages, path: Path) -> SavedCache | None:
        return await self.collection.prompt_caches.save(self.model, messages, path)

    async def restore(self, path: Path, fingerprint: str) -> bool:
        return await self.collection.prompt_caches.restore(self.model, path, fingerprint)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Engine]:
    """Nano in a worker process of its own."""
    collection = await ModelCollection.start(Settings(**{"threads": 1, "slots": 4, **settings}))
    try:
        yield Engine(collection)
    finally:
        await collection.stop(0)


def conversation(name: str) -> Messages:
    return [{"role": "system", "content": f"You are {name}. " + f"You speak with the friends of {name}. " * 12}]

"""A host as commands see it. What is asynchronous about it is waited for here, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from modelhost.client.address import normalize_url
from modelhost.client.host_client import Body, HostClient
from modelhost.client.remote import RemoteClient
from modelhost.exchange.events import Piece
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress
from modelhost.operations.reports import EventReport

Message = dict[str, str]
"""An OpenAI chat message: ``role`` and ``content``."""
T = TypeVar("T")


class Waits(Protocol):
    """Has an event loop."""

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what ``coroutine`` gives."""

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T]:
        """Yield what ``items`` yields; closing ends it."""


class HereAndNow:
    """A loop of its own for each thing that is waited for, in this thread: Ctrl-C stops it at once."""

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what ``coroutine`` gives."""
        return asyncio.run(coroutine)

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T]:
        """Yield what ``items`` yields; closing ends it. In between others may be waited for."""

        async def step() -> T:
            return await anext(items)

        async def end() -> None:
            await items.aclose()

        with asyncio.Runner() as runner:
            try:
                with suppress(StopAsyncIteration):
                    while True:
                        yield runner.run(step())
            finally:
                runner.run(end())


class Answerer:
    """Answers conversations. Failures are raised as a ``ModelhostError`` whose message is for a person."""

    def __init__(self, client: HostClient, loop: Waits) -> None:
        self._client = client
        self._loop = loop

    def models(self) -> Sequence[str]:
        """The names of the models that can be asked."""
        return self._loop.wait_for(self._client.models())

    def complete(self, messages: Sequence[Message], params: Body) -> Mapping[str, Any]:
        """The whole answer, as an OpenAI chat completion."""
        return self._loop.wait_for(self._client.complete({**params, "messages": messages}))

    def stream(self, messages: Sequence[Message], params: Body) -> Generator[Piece]:
        """The answer as it comes; closing the generator stops the model."""
        return self._loop.iterate(self._pieces({**params, "messages": messages}))

    def call(self, operation: Operation[P, R], parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        """The result of an administrative operation; it may be called while an answer is streamed.

        ``on_progress`` is told how far one is that tells so.
        """
        return self._loop.wait_for(self._client.run(operation, parameters, on_progress))

    async def _pieces(self, body: Body) -> AsyncGenerator[Piece, None]:
        async with self._client.chat(body) as pieces:
            async for piece in pieces:
                yield piece


class RunningHost(Answerer):
    """The host at ``url``, which is brought to its normal form; raises ConfigError if it is not an HTTP address."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = normalize_url(url)
        self.client = RemoteClient(self.url, api_key)
        super().__init__(self.client, HereAndNow())

    def is_modelhost(self) -> bool:
        """Whether a modelhost answers there; anything else, or nothing, is ``False``."""
        return self._loop.wait_for(self.client.is_modelhost())

    def model_events(self) -> Generator[EventReport]:
        """What happens to the models: the state of each at first, then every change; ends when the host stops."""
        return self._loop.iterate(self.client.model_events())

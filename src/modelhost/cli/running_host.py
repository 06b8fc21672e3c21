"""The host of a command: how the user names it, and a blocking client around its asynchronous one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer

from modelhost import json_text
from modelhost.client.connections import DEFAULT_URL, normalize_url
from modelhost.client.host_client import Body, OnPicture, Picture, SoundClient, Transcript
from modelhost.client.remote import RemoteClient
from modelhost.config.environment import KEY_VARIABLE, URL_VARIABLE, current, read_dotenv_settings
from modelhost.exchange.events import Piece
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress
from modelhost.operations.reports import EventReport


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedHost:
    """The host that options or environment name; ``None``: not named."""

    url: str | None
    api_key: str | None = field(repr=False)


def named_host(url: str | None, api_key: str | None) -> NamedHost:
    """Return the host of the options ``url`` and ``api_key``, else of the environment, else of ``.env``.

    A key of the environment is never sent to an address from ``.env``, whose author could collect it that way.
    """
    environ, dotenv = current(), read_dotenv_settings(Path()).variables
    named = url or environ.get(URL_VARIABLE)
    own_key = dotenv.get(KEY_VARIABLE)
    key = environ.get(KEY_VARIABLE) or own_key if named or not dotenv.get(URL_VARIABLE) else own_key
    return NamedHost(url=named or dotenv.get(URL_VARIABLE), api_key=api_key or key or None)


Message = dict[str, str]
"""An OpenAI chat message: ``role`` and ``content``."""
T = TypeVar("T")


class EventLoopRunner(Protocol):
    """Runs coroutines for synchronous code."""

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``coroutine``."""

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T]:
        """Yield from ``items``; closing the generator closes it."""


class BlockingRunner:
    """Runs each coroutine in an event loop of its own in this thread, so that Ctrl-C stops it at once."""

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(coroutine)

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T]:
        """Yield from ``items``; closing the generator closes it. Other coroutines may be run in between."""

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


class BlockingClient:
    """A blocking client of a host. Failures are raised as ``ModelhostError`` with a message for the user."""

    def __init__(self, client: SoundClient, loop: EventLoopRunner) -> None:
        self._client = client
        self._loop = loop

    def models(self) -> Sequence[str]:
        return self._loop.wait_for(self._client.models())

    def complete(self, messages: Sequence[Message], params: Body) -> Mapping[str, Any]:
        """Return the whole answer, as an OpenAI chat completion."""
        return self._loop.wait_for(self._client.complete({**params, "messages": messages}))

    def stream(self, messages: Sequence[Message], params: Body) -> Generator[Piece]:
        """Yield the answer as it comes; closing the generator stops the model."""
        return self._loop.iterate(self._pieces({**params, "messages": messages}))

    def call(self, operation: Operation[P, R], parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        """Run an administrative operation, also while an answer is streamed.

        ``on_progress`` gets the progress of operations that report it.
        """
        return self._loop.wait_for(self._client.run(operation, parameters, on_progress))

    def speak(self, body: Body) -> Generator[bytes]:
        """Yield the audio as it is made; closing the generator ends the work."""
        return self._loop.iterate(self._audio(body))

    def transcribe(self, file: bytes, fields: Mapping[str, str], on_progress: OnProgress) -> Transcript:
        return self._loop.wait_for(self._client.transcribe(file, fields, on_progress))

    def paint(self, body: Body, on_progress: OnProgress, on_picture: OnPicture) -> Sequence[Picture]:
        return self._loop.wait_for(self._client.paint(body, on_progress, on_picture))

    async def _audio(self, body: Body) -> AsyncGenerator[bytes, None]:
        async with self._client.speak(body) as parts:
            async for part in parts:
                yield part

    async def _pieces(self, body: Body) -> AsyncGenerator[Piece, None]:
        async with self._client.chat(body) as pieces:
            async for piece in pieces:
                yield piece


class RunningHost(BlockingClient):
    """A client of the host at ``url``, which is normalized; raises ConfigError if it is no HTTP address."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = normalize_url(url)
        self.api_key = api_key
        self.client = RemoteClient(self.url, api_key)
        super().__init__(self.client, BlockingRunner())

    def is_modelhost(self) -> bool:
        return self._loop.wait_for(self.client.is_modelhost())

    def has_path(self, path: str) -> bool:
        return self._loop.wait_for(self.client.has_path(path))

    def model_events(self) -> Generator[EventReport]:
        """Yield the state of each model, then every change; ends when the host stops."""
        return self._loop.iterate(self.client.model_events())


Url = Annotated[str | None, typer.Option("--url", help=f"The host. Default: {URL_VARIABLE}, or {DEFAULT_URL}.")]
Key = Annotated[str | None, typer.Option("--api-key", help=f"Key for the host. Default: {KEY_VARIABLE}.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the host's complete answer as JSON.")]


def running_host(url: str | None, api_key: str | None) -> RunningHost:
    """Return the host that the options or the environment name.

    Raises:
        ConfigError: not an HTTP address.
    """
    named = named_host(url, api_key)
    return RunningHost(named.url or DEFAULT_URL, named.api_key)


def parse_key_value(text: str) -> tuple[str, str]:
    """Split ``KEY=VALUE``; raises typer.BadParameter if there is no ``=``."""
    key, is_pair, value = text.partition("=")
    if not is_pair or not key:
        raise typer.BadParameter(f'"{text}" is not KEY=VALUE, such as temperature=0.7')
    return key, value


def parse_json_or_text(value: str) -> Any:
    try:
        return json_text.decode(value)
    except ValueError:
        return value

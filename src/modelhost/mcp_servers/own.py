"""The own host of an MCP server, started when it is first needed, so that the handshake does not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from modelhost import lazy
from modelhost.background import cancel_and_wait
from modelhost.client.host_client import Body, OnPicture, Picture, Transcript, ignore_picture
from modelhost.config.settings import Settings
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress
from modelhost.operations.perform import OperationCall
from modelhost.tools.entry import CONNECT_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from modelhost.client.local import LocalClient
    from modelhost.host import Host


class OwnHost:
    """A host with ``settings`` until the end of the context; all that uses it raises SetupError if it cannot start."""

    def __init__(self, settings: Settings, *, launch: Mapping[str, Any]) -> None:
        """``launch`` are launch parameters for the model's engine (a registry's ``params``)."""
        self._settings = settings
        self._launch = launch
        self._starting: asyncio.Task[LocalClient] | None = None
        self._client: LocalClient | None = None
        self._settling: asyncio.Task[bool] | None = None
        self._host: Host | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancel_and_wait(self._starting, self._settling)
        if self._host is not None:
            await self._host.stop(drain_seconds=0)

    async def run(self, operation: Operation[P, R], parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        return await (await self._started()).run(operation, parameters, on_progress)

    async def models(self) -> Sequence[str]:
        return await (await self._started()).models()

    @asynccontextmanager
    async def chat(self, body: Body, caller: Caller = NOBODY) -> AsyncIterator[Pieces]:
        async with (await self._with_tools()).chat(body, caller) as pieces:
            yield pieces

    async def complete(self, body: Body) -> Mapping[str, Any]:
        return await (await self._with_tools()).complete(body)

    @asynccontextmanager
    async def speak(self, body: Body) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        async with (await self._started()).speak(body) as parts:
            yield parts

    async def transcribe(
        self, file: bytes, fields: Mapping[str, str], on_progress: OnProgress = ignore_progress
    ) -> Transcript:
        return await (await self._started()).transcribe(file, fields, on_progress)

    async def paint(
        self, body: Body, on_progress: OnProgress = ignore_progress, on_picture: OnPicture = ignore_picture
    ) -> Sequence[Picture]:
        return await (await self._started()).paint(body, on_progress, on_picture)

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        return await (await self._started()).request_defaults(model)

    @asynccontextmanager
    async def performing(self, call: OperationCall) -> AsyncIterator[None]:
        try:
            client = await self._started()
        except BaseException:
            with call:
                raise
        async with client.performing(call):
            yield

    async def _started(self) -> LocalClient:
        """Return the client. Concurrent calls wait for the same start; after a failure the next call tries again."""
        if self._client is None:
            if self._starting is None or self._starting.done():
                self._starting = asyncio.create_task(self._start(), name="starting a host")
            self._client = await asyncio.shield(self._starting)
        return self._client

    async def _with_tools(self) -> LocalClient:
        """Return the client once the MCP servers of the host are there: earlier answers would be without tools."""
        client = await self._started()
        if self._settling is not None:
            await asyncio.shield(self._settling)
        return client

    async def _start(self) -> LocalClient:
        await asyncio.to_thread(lazy.preload, "local_client", "host")
        host = lazy.host.Host(self._settings)
        await host.start(load=False, launch=self._launch)
        self._host = host
        if self._settings.mcp_config is not None:
            self._settling = asyncio.create_task(
                host.tools.settled(CONNECT_TIMEOUT_SECONDS), name="connecting to MCP servers"
            )
        return lazy.local_client.LocalClient(host)

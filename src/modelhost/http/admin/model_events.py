"""``GET /v1/models/events``: events of models, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Receive, Scope, Send

from modelhost.http.admin.operations import answer
from modelhost.http.exchange import Exchange
from modelhost.models.residency.status import ModelEvent
from modelhost.operations.reports import event_report

if TYPE_CHECKING:
    from modelhost.host import Host

PATH: Final = "/v1/models/events"
NAME: Final = "model-events"
RETRY: Final = b"retry: 1000\n\n"  # milliseconds until a browser reconnects; also starts the response


class EventsEndpoint:
    """Sends the state of every model, then every change, until the client disconnects or ``stopping`` is set."""

    def __init__(self, host: Host, *, keep_alive_seconds: float, stopping: asyncio.Event) -> None:
        self._host = host
        self._keep_alive_seconds = keep_alive_seconds
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, keep_alive_seconds=self._keep_alive_seconds)

        async def respond() -> None:
            async with exchange.until_disconnected(), exchange.event_stream(), self._host.events() as events:
                await exchange.write(RETRY)
                async with aclosing(_until(self._stopping, events)) as stream:
                    async for event in stream:
                        await exchange.write(_block(event))

        await answer(exchange, scope, NAME, respond)


async def _until(stopping: asyncio.Event, events: AsyncIterator[ModelEvent]) -> AsyncGenerator[ModelEvent, None]:
    """Yield ``events`` until they end, or ``stopping`` is set."""
    stop = asyncio.ensure_future(stopping.wait())
    tasks: list[asyncio.Future[Any]] = [stop]
    try:
        while True:
            step = asyncio.ensure_future(anext(events, None))
            tasks = [step, stop]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            event = step.result() if step.done() else None
            if event is None:
                return
            yield event
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _block(event: ModelEvent) -> bytes:
    return f"event: {event.kind}\ndata: {event_report(event).model_dump_json()}\n\n".encode()

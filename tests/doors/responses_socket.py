"""OpenAI's Responses API over a WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Message

from tests.doors.responses_doors import PATH, ResponsesDoor, ResponsesStreamed, Told
from tests.doors.talk import Ask, Failed, Outcome

Coming = asyncio.Queue[Message]


class ResponsesSocket(ResponsesDoor):
    """One socket for each request, without a network."""

    name = "responses-websocket"
    relays = False

    async def put(self, ask: Ask, got: Outcome) -> None:
        told = Told()
        async with self._opened({"type": "response.create", **self.body(ask)}) as answered:
            while not told.is_over:
                message = await answered.get()
                assert message["type"] == "websocket.send", message
                event: dict[str, Any] = json.loads(message["text"])
                if event["type"] == "error":
                    raise self.failed(event["status"], event)
                told.add(event)
                ResponsesStreamed.add(got, event)
        told.check_end()
        if (error := told.last["response"]["error"]) is not None:
            raise Failed(error["code"], error["message"])

    @asynccontextmanager
    async def _opened(self, body: dict[str, Any]) -> AsyncIterator[Coming]:
        """What the host sends to a client that sends ``body``, and leaves with the context."""
        coming, answered = Coming(), Coming()
        scope = {"type": "websocket", "path": PATH, "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)}
        serving = asyncio.create_task(self.world.app(relays=False)(scope, coming.get, answered.put))
        coming.put_nowait({"type": "websocket.connect"})
        assert (await answered.get())["type"] == "websocket.accept"
        coming.put_nowait({"type": "websocket.receive", "text": json.dumps(body)})
        try:
            yield answered
        finally:
            coming.put_nowait({"type": "websocket.disconnect", "code": 1001})
            await serving

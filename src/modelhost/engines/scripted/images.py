"""Images of the scripted engine: each word of the reply is a step, and the words are the file, after its signature."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost.engines.scripted.chunks import json_bytes
from modelhost.engines.scripted.generation import Pacer, Player, State
from modelhost.engines.scripted.reply import Rule, decide
from modelhost.engines.scripted.speech import counted
from modelhost.engines.worker.asgi import EVENT_TYPE, Receive, Send, invalid

IMAGE_PATHS: Final = frozenset({"/v1/images/generations", "/v1/images/edits"})
HEADS: Final = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF\0\0\0\0WEBP"}
SIZE: Final = (64, 64)
MULTIPLE: Final = 8


class ScriptedImages:
    """Answers requests for images and counts them in ``state``."""

    def __init__(self, config: Mapping[str, Any], rules: Sequence[Rule], state: State) -> None:
        self._config, self._rules, self._state = config, rules, state
        self._player = Player(pacer=Pacer())

    async def answer(self, body: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request; raises ErrorResponse before anything is sent."""
        width, height = body.get("width", SIZE[0]), body.get("height", SIZE[1])
        if width % MULTIPLE or height % MULTIPLE:
            raise invalid(f"size: this model makes images whose sides are multiples of {MULTIPLE}.", param="size")
        await counted(self._state, body, self._paint(body, (width, height), send), receive)

    async def _paint(self, body: dict[str, Any], size: tuple[int, int], send: Send) -> None:
        reply = decide(self._config, self._rules, body["prompt"], may_call=False)
        steps, seed = len(reply.content), body.get("seed", 0)

        async def event(kind: str, **fields: Any) -> None:
            data = b"data: " + json_bytes({"event": kind, **fields}) + b"\n\n"
            await send({"type": "http.response.body", "body": data, "more_body": True})

        def written(words: Sequence[str], index: int) -> str:
            named = f" {index}" if index else ""
            return base64.b64encode(HEADS[body["output_format"]] + "".join(words).encode() + named.encode()).decode()

        async def malformed() -> None:
            await event("malformed")

        await send({"type": "http.response.start", "status": 200, "headers": EVENT_TYPE})
        await event("started", width=size[0], height=size[1], tokens=len(body["prompt"].split()), steps=steps)
        for index in range(body["n"]):

            async def emit(first: int, end: int, index: int = index) -> None:
                for place in range(first, end):
                    await event("progress", index=index, step=place + 1, steps=steps)
                    if index == 0 and place < min(body["partial_images"], steps - 1):
                        await event("partial", index=place, b64_json=written(reply.content[: place + 1], index))

            await event("progress", index=index, step=0, steps=steps)
            await self._player.play(reply, steps, emit, malformed)
            await event("image", index=index, seed=seed + index, b64_json=written(reply.content, index))
        await event("done")
        await send({"type": "http.response.body", "body": b""})

"""Sound and images of the scripted engine: the words of the reply in place of them, and as segments of a transcript."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from modelhost.engines.scripted.chunks import json_bytes
from modelhost.engines.scripted.generation import Pacer, Player, State
from modelhost.engines.scripted.reply import Rule, decide
from modelhost.engines.worker.asgi import EVENT_TYPE, Receive, Send, invalid, read_json, while_connected

VOICES: Final = ("one", "two")
WAV_HEAD: Final = 12
MEDIA_TYPES: Final = {
    "mp3": b"audio/mpeg",
    "opus": b"audio/ogg",
    "aac": b"audio/aac",
    "flac": b"audio/flac",
    "wav": b"audio/wav",
    "pcm": b"audio/pcm",
}


class ScriptedSpeech:
    """Answers requests for speech and counts them in ``state``."""

    def __init__(self, config: Mapping[str, Any], rules: Sequence[Rule], state: State) -> None:
        self._config, self._rules, self._state = config, rules, state
        self._player = Player(pacer=Pacer())

    async def answer(self, body: dict[str, Any], receive: Receive, send: Send) -> None:
        await counted(self._state, body, self._speak(body, send), receive)

    async def transcribe(self, raw: bytes, receive: Receive, send: Send) -> None:
        """Answer a request: each word of the reply to what follows the signature of a WAV file is a segment."""
        line, _, data = raw.partition(b"\n")
        body = read_json(line)
        await counted(
            self._state, body, self._transcribe(data[WAV_HEAD:].decode(errors="replace"), body, send), receive
        )

    async def _transcribe(self, said: str, body: dict[str, Any], send: Send) -> None:
        reply = decide(self._config, self._rules, said, may_call=False)

        async def event(kind: str, **fields: Any) -> None:
            data = b"data: " + json_bytes({"event": kind, **fields}) + b"\n\n"
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def emit(first: int, end: int) -> None:
            for place in range(first, end):
                await event("segment", **_segment(place, reply.content[place], body))

        async def malformed() -> None:
            await event("malformed")

        await send({"type": "http.response.start", "status": 200, "headers": EVENT_TYPE})
        await event("info", duration=float(len(reply.content)), language=body.get("language") or "en")
        await self._player.play(reply, len(reply.content), emit, malformed)
        await event("done")
        await send({"type": "http.response.body", "body": b""})

    async def _speak(self, body: dict[str, Any], send: Send) -> None:
        reply = decide(self._config, self._rules, body["input"], may_call=False)

        async def emit(first: int, end: int) -> None:
            self._state.tokens += end - first
            words = "".join(reply.content[first:end]).encode()
            await send({"type": "http.response.body", "body": words, "more_body": True})

        async def malformed() -> None:
            await send({"type": "http.response.body", "body": b"\0", "more_body": True})

        headers = [(b"content-type", MEDIA_TYPES[body["response_format"]])]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._player.play(reply, len(reply.content), emit, malformed)
        await send({"type": "http.response.body", "body": b""})


async def counted(state: State, body: dict[str, Any], work: Awaitable[None], receive: Receive) -> None:
    """Do the work of a request for as long as its client is there, and count it in ``state``."""
    state.last_body = body
    state.total += 1
    state.in_flight += 1
    try:
        if not await while_connected(receive, work):
            state.cancelled += 1
    finally:
        state.in_flight -= 1


def _segment(place: int, text: str, body: Mapping[str, Any]) -> dict[str, Any]:
    times = {"start": float(place), "end": place + 1.0}
    words = [{"word": text, **times}] if body["word_timestamps"] else []
    numbers = {"avg_logprob": 0.0, "compression_ratio": 1.0, "no_speech_prob": 0.0, "temperature": body["temperature"]}
    return {"id": place, "seek": 0, **times, "text": text, "tokens": [place], **numbers, "words": words}


IMAGE_PATHS: Final = frozenset({"/v1/images/generations", "/v1/images/edits"})
HEADS: Final = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF\0\0\0\0WEBP"}
SIZE: Final = (64, 64)
MULTIPLE: Final = 8
SEEDS: Final = 2**32


class ScriptedImages:
    """Answers requests for images and counts them in ``state``: each word of the reply is a step, all are the file."""

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
            await event("image", index=index, seed=(seed + index) % SEEDS, b64_json=written(reply.content, index))
        await event("done")
        await send({"type": "http.response.body", "body": b""})

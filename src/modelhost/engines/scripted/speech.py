"""Sound of the scripted engine: the words of the reply as bytes in place of audio, and as segments of a transcript."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from modelhost.engines.scripted.chunks import json_bytes
from modelhost.engines.scripted.generation import Pacer, Player, State
from modelhost.engines.scripted.reply import Rule, decide
from modelhost.engines.worker.asgi import EVENT_TYPE, Receive, Send, read_json, while_connected

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
        """Answer a request."""
        await counted(self._state, body, self._speak(body, send), receive)

    async def transcribe(self, raw: bytes, receive: Receive, send: Send) -> None:
        """Answer a request: each word of the reply to what follows the signature of a WAV file is a segment."""
        line, _, data = raw.partition(b"\n")
        body = read_json(line)
        await counted(self._state, body, self._transcribe(data[WAV_HEAD:].decode(), body, send), receive)

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

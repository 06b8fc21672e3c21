"""One chat or completion of the scripted engine, from the body of the request to the last byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelhost.engines.scripted_chunks import MALFORMED, Chunks, json_bytes, whole_answer
from modelhost.engines.scripted_pace import Pacer, Player
from modelhost.engines.scripted_reply import Reply, Rule, decide, limited
from modelhost.engines.scripted_request import Generation, read_generation
from modelhost.engines.worker_http import (
    EVENT_TYPE,
    JSON_TYPE,
    Receive,
    Refused,
    Send,
    error_body,
    send_answer,
    while_connected,
)


@dataclass(slots=True)
class State:
    """What the worker has done; shown at ``/scripted/state``."""

    in_flight: int = 0
    total: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    last_body: Any = None


class Generator:
    """Answers what is to be generated, and keeps count of it in ``state``."""

    def __init__(self, config: Mapping[str, Any], rules: Sequence[Rule]) -> None:
        self.state = State()
        self._config, self._rules = config, rules
        self._player = Player(pacer=Pacer())

    async def answer(self, kind: str, body: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request; raises :class:`Refused` before anything is sent."""
        self.state.last_body = body
        self.state.total += 1
        limit = self._config["context_length"]
        asked = read_generation(kind, body, model=self._config["name"], context_length=limit)
        reply = decide(self._config, self._rules, asked.message, may_call=asked.may_call, tool_turns=asked.tool_turns)
        if reply.error_status:
            shape = error_body(reply.error_status, "server_error", "the script says so")
            raise Refused(reply.error_status, shape if reply.error_body is None else reply.error_body)
        reply = limited(reply, most_tokens=asked.most_tokens, stops=asked.stops)
        self.state.in_flight += 1
        self.state.prompt_tokens += asked.prompt_tokens
        work = self._stream(asked, reply, send) if asked.stream else self._whole(asked, reply, send)
        try:
            if not await while_connected(receive, work):
                self.state.cancelled += 1
        finally:
            self.state.in_flight -= 1

    async def _stream(self, asked: Generation, reply: Reply, send: Send) -> None:
        chunks = Chunks(asked, reply)
        opening = chunks.opening()

        async def emit(first: int, end: int) -> None:
            nonlocal opening
            self.state.tokens += end - first
            body, opening = opening + chunks.between(first, end), b""
            await send({"type": "http.response.body", "body": body, "more_body": True})

        async def malformed() -> None:
            await send({"type": "http.response.body", "body": MALFORMED, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": EVENT_TYPE})
        await self._player.play(reply, chunks.tokens, emit, malformed)
        await send({"type": "http.response.body", "body": opening + chunks.closing()})

    async def _whole(self, asked: Generation, reply: Reply, send: Send) -> None:
        tokens = Chunks(asked, reply).tokens
        body = json_bytes(whole_answer(asked, reply, tokens))

        async def count(first: int, end: int) -> None:
            self.state.tokens += end - first

        async def malformed() -> None:
            nonlocal body
            body = body[: len(body) // 2]

        await self._player.play(reply, tokens, count, malformed)
        await send_answer(send, 200, JSON_TYPE, body)

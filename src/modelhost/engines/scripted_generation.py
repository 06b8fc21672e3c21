"""One chat or completion of the scripted engine, from the body of the request to the last byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelhost.engines.scripted_chunks import MALFORMED, Chunks, json_bytes, whole_answer
from modelhost.engines.scripted_pace import Pacer, Player
from modelhost.engines.scripted_reply import Reply, Rule, decide, limited
from modelhost.engines.scripted_request import Generation, Refused, error_body, read_generation

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = [(b"content-type", b"application/json; charset=utf-8")]
EVENT_TYPE = [(b"content-type", b"text/event-stream")]


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
            if not await _while_connected(receive, work):
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


async def _while_connected(receive: Receive, work: Awaitable[None]) -> bool:
    """Do ``work`` until it is done (true) or the client leaves (false)."""
    worker = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_until_disconnect(receive))
    await asyncio.wait((worker, watcher), return_when=asyncio.FIRST_COMPLETED)
    finished = worker.done()
    for task in (worker, watcher):
        task.cancel()
    (outcome, _) = await asyncio.gather(worker, watcher, return_exceptions=True)
    if finished and isinstance(outcome, BaseException):
        raise outcome
    return finished


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})

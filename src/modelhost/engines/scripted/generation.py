"""One chat or completion of the scripted engine, from the request to the last byte, each token when it is due."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from modelhost.engines.scripted.chunks import MALFORMED, Chunks, json_bytes, whole_answer
from modelhost.engines.scripted.reply import Generation, Reply, Rule, decide, limited, read_generation
from modelhost.engines.worker.asgi import (
    EVENT_TYPE,
    JSON_TYPE,
    ErrorResponse,
    Receive,
    Send,
    error_body,
    send_answer,
    while_connected,
)


@dataclass(slots=True)
class State:
    """Counters of the worker, shown at ``/scripted/state``."""

    in_flight: int = 0
    total: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    last_body: Any = None


class Generator:
    """Answers generation requests and counts them in ``state``."""

    def __init__(self, config: Mapping[str, Any], rules: Sequence[Rule]) -> None:
        self.state = State()
        self._config, self._rules = config, rules
        self._player = Player(pacer=Pacer())

    async def answer(self, kind: str, body: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request; raises :class:`ErrorResponse` before anything is sent."""
        self.state.last_body = body
        self.state.total += 1
        if body.get("tools") and not self._config["calls_tools"]:
            raise ErrorResponse(400, error_body(400, "not_supported_error", "tools: the script calls none"))
        limit = self._config["context_length"]
        request = read_generation(kind, body, model=self._config["name"], context_length=limit)
        reply = decide(
            self._config, self._rules, request.message, may_call=request.may_call, tool_turns=request.tool_turns
        )
        if reply.error_status:
            shape = error_body(reply.error_status, "server_error", "the script says so")
            raise ErrorResponse(reply.error_status, shape if reply.error_body is None else reply.error_body)
        reply = limited(reply, most_tokens=request.most_tokens, stops=request.stops)
        self.state.in_flight += 1
        self.state.prompt_tokens += request.prompt_tokens
        work = self._stream(request, reply, send) if request.stream else self._whole(request, reply, send)
        try:
            if not await while_connected(receive, work):
                self.state.cancelled += 1
        finally:
            self.state.in_flight -= 1

    async def _stream(self, request: Generation, reply: Reply, send: Send) -> None:
        chunks = Chunks(request, reply)
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

    async def _whole(self, request: Generation, reply: Reply, send: Send) -> None:
        tokens = Chunks(request, reply).tokens
        body = json_bytes(whole_answer(request, reply, tokens))

        async def count(first: int, end: int) -> None:
            self.state.tokens += end - first

        async def malformed() -> None:
            nonlocal body
            body = body[: len(body) // 2]

        await self._player.play(reply, tokens, count, malformed)
        await send_answer(send, 200, JSON_TYPE, body)


Emit = Callable[[int, int], Awaitable[None]]
"""Sends the tokens from the first position up to, but not including, the second one."""

FLUSH_SECONDS = (
    0.01  # uvloop writes at the end of a turn of its loop: let what was sent reach the socket before a crash
)
EVENTS_PER_TURN = 64  # events after which an unpaced stream lets others have the loop; more is faster, and unfair


@dataclass(slots=True)
class Pacer:
    """Wakes streams at whole milliseconds: those due in the same millisecond share one timer."""

    _due: dict[int, list[asyncio.Future[None]]] = field(default_factory=dict)

    async def wait_until(self, when: float) -> None:
        """Return at ``when`` (the loop's time) or up to one millisecond later; at once if it has passed."""
        loop = asyncio.get_running_loop()
        if when <= loop.time():
            return
        tick = ceil(when * 1000)
        waiting: asyncio.Future[None] = loop.create_future()
        if tick in self._due:
            self._due[tick].append(waiting)
        else:
            self._due[tick] = [waiting]
            loop.call_at(tick / 1000, self._wake, tick)
        await waiting

    def _wake(self, tick: int) -> None:
        for waiting in self._due.pop(tick):
            if not waiting.done():
                waiting.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """Plays replies at their speed and with their faults."""

    pacer: Pacer

    async def play(self, reply: Reply, tokens: int, emit: Emit, break_json: Callable[[], Awaitable[None]]) -> None:
        """Emit all ``tokens``, each when it is due; a fault past the last token does not happen."""
        start = asyncio.get_running_loop().time() + reply.first_token_delay
        await self.pacer.wait_until(start)
        done = 0
        for position, fault in faults_of(reply, tokens):
            await self._emit_between(done, position, start, reply, emit)
            done = position
            if fault == "malformed":
                await break_json()
            else:
                await (crash() if fault == "crash" else hang())
        await self._emit_between(done, tokens, start, reply, emit)

    async def _emit_between(self, first: int, end: int, start: float, reply: Reply, emit: Emit) -> None:
        if reply.tokens_per_second > 0:
            for position in range(first, end):
                await self.pacer.wait_until(start + position / reply.tokens_per_second)
                await emit(position, position + 1)
            return
        step = max(1, reply.events_per_write)
        for position in range(first, end, step):
            await emit(position, min(position + step, end))
            if (position - first) % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)


def faults_of(reply: Reply, tokens: int) -> Sequence[tuple[int, str]]:
    """Return the faults of a reply of ``tokens`` tokens, by position."""
    faults = (
        (reply.malformed_after_tokens, "malformed"),
        (reply.hang_after_tokens, "hang"),
        (reply.crash_after_tokens, "crash"),
    )
    return sorted((position, fault) for position, fault in faults if 0 <= position <= tokens)


async def crash() -> None:
    """Kill this process, as the out-of-memory killer does."""
    await asyncio.sleep(FLUSH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


async def hang() -> None:
    """Send nothing more until the client disconnects, which cancels this."""
    await asyncio.Event().wait()

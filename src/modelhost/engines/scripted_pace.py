"""The clock of the scripted engine: when each token of each stream is due."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import ceil

from modelhost.engines.scripted_reply import Reply

Emit = Callable[[int, int], Awaitable[None]]
"""Sends the tokens from the first to before the second position."""

FLUSH_SECONDS = (
    0.01  # uvloop writes at the end of a turn of its loop: let what was sent reach the socket before a crash
)
EVENTS_PER_TURN = 64  # events after which an unpaced stream lets others have the loop; more is faster, and unfair


@dataclass(slots=True)
class Pacer:
    """Wakes streams on a grid of one millisecond: the streams due in the same millisecond share one timer."""

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
    """Plays replies in time and with the faults they ask for."""

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
    """Die as under the out-of-memory killer."""
    await asyncio.sleep(FLUSH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


async def hang() -> None:
    """Say nothing more until the client leaves, which cancels this."""
    await asyncio.Event().wait()

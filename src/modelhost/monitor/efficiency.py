"""How many tokens a host generates with a joule of its GPUs, measured minute by minute."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from modelhost.background import cancel_and_wait, log_failures

MINUTE_SECONDS: Final = 60.0


class Efficiency:
    """Compares the last minute with the best one since the start."""

    def __init__(self, tokens: Callable[[], float], energy: Callable[[], Awaitable[float | None]]) -> None:
        """``tokens`` returns the tokens generated so far, ``energy`` the joules used so far, of all GPUs together.

        Either has an arbitrary beginning. Without GPUs that report energy, it is ``None``.
        """
        self._tokens = tokens
        self._energy = energy
        self._before: tuple[float, float] | None = None
        self._best = self._last = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def ratio(self) -> float | None:
        """Tokens per joule in the last minute by those of the best minute; ``None`` before one with tokens."""
        return self._last / self._best if self._best else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._measure_repeatedly(), name="measuring efficiency")

    async def stop(self) -> None:
        await cancel_and_wait(self._task)

    async def _measure_repeatedly(self) -> None:
        while True:
            with log_failures("measuring efficiency"):
                await self.measure()
            await asyncio.sleep(MINUTE_SECONDS)

    async def measure(self) -> None:
        """End a minute."""
        joules, tokens = await self._energy(), self._tokens()
        before, self._before = self._before, None if joules is None else (tokens, joules)
        # The counter of a driver begins anew when the driver is loaded again.
        if before is None or joules is None or joules <= before[1]:
            return
        self._last = (tokens - before[0]) / (joules - before[1])
        self._best = max(self._best, self._last)

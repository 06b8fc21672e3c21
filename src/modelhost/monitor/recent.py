"""Answers that are kept for a moment: many clients that poll cost as much as one."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class RecentAnswers:
    """Answers by key, each given again for ``seconds``; with 0, none is kept. For one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: dict[str, tuple[float, Any]] = {}
        """When each was made, and the answer."""
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to ``key``, made by ``make`` unless there is one; those who want the same wait for it.

        What ``make`` raises is raised, and not kept.
        """
        if not self._seconds:
            return await make()
        async with self._making[key]:
            now = asyncio.get_running_loop().time()
            self._forget(now)
            if key not in self._kept:
                self._kept[key] = (now, await make())
            answer: T = self._kept[key][1]
            return answer

    def _forget(self, now: float) -> None:
        for key in [key for key, (made_at, _) in self._kept.items() if now - made_at >= self._seconds]:
            del self._kept[key]
        for key in [key for key, lock in self._making.items() if key not in self._kept and not lock.locked()]:
            del self._making[key]

"""Transactions whose outcome is certain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def decided(transaction: Coroutine[Any, Any, T]) -> T:
    """Return the outcome of ``transaction``; a cancellation waits for it.

    A cancellation in the middle would leave unknown what is stored, and the connection in an unknown state.
    """
    task = asyncio.create_task(transaction)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # retrieved, since it is not raised
        raise

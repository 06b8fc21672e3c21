"""An event loop whose clock jumps to the next timer as soon as nothing else is to be done: seconds cost nothing."""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

FIXTURE = "virtual_time"
LONGEST_SECONDS = 3600.0

T = TypeVar("T")
Test = Callable[..., Coroutine[Any, Any, None]]


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Lets its clock go on where another one would wait, unless something has come already."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timer is set: another thread has the next word
            return super().select(None)
        found = super().select(0)
        if not found:
            self.now += max(0.0, timeout)
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For code without sockets and processes: those would hardly ever get their turn."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_in_virtual_time(work: Awaitable[T]) -> T:
    """Run ``work`` to its end. It fails, instead of hanging, if it takes more than an hour of its own time."""

    async def limited() -> T:
        async with asyncio.timeout(LONGEST_SECONDS):
            return await work

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(limited())


def move_to_virtual_time(item: pytest.Function) -> None:
    """Have an asynchronous test that uses the fixture ``virtual_time`` run on a loop of its own kind.

    It becomes a synchronous one for all others, so that no plugin has it run on another loop; with Hypothesis each
    example gets a fresh loop.
    """
    if FIXTURE not in item.fixturenames:
        return
    hypothesis = getattr(item.obj, "hypothesis", None)
    if hypothesis is not None and inspect.iscoroutinefunction(hypothesis.inner_test):
        hypothesis.inner_test = _synchronous(hypothesis.inner_test)
    elif inspect.iscoroutinefunction(item.obj):
        item.obj = _synchronous(item.obj)


def _synchronous(test: Test) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_in_virtual_time(test(*args, **kwargs))

    return run

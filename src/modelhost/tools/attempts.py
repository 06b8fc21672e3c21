"""Tool calls in flight: whether an attempt was sent, whom it belongs to, and how long it may still take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final, Literal

from modelhost.tools.callbacks import CallContext
from modelhost.tracing import spans

CURRENT_ATTEMPT: Final[ContextVar[CallAttempt | None]] = ContextVar("modelhost_tool_call", default=None)
"""The call that the running code works for. The SDK carries it into the tasks that send a request over HTTP and into
those that handle what arrives on that request's own stream."""
DEPTH_META_KEY: Final = "modelhost/depth"
"""In the ``_meta`` of a call: how deeply it is nested in other calls, as ``DEPTH_HEADER`` says in an HTTP request."""


class CallAttempt:
    """One attempt at a call."""

    def __init__(self, server: str, tool: str, context: CallContext, *, is_retry: bool = False) -> None:
        self.server = server
        self.tool = tool
        self.context = context
        self.is_retry = is_retry
        """Whether an earlier attempt could not be sent."""
        self.was_sent = False
        """Whether the server may have read it; set by the transport."""
        self.refusal: str | None = None
        """How the server refused it unread, in words; set by the transport."""
        self._resume = spans.resumer()
        self._timeout: asyncio.Timeout | None = None
        self._pauses = 0
        self._left = 0.0

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this the current attempt within the context."""
        token = CURRENT_ATTEMPT.set(self)
        try:
            yield
        finally:
            CURRENT_ATTEMPT.reset(token)

    def resumed(self) -> AbstractContextManager[None]:
        """Return what has the code inside belong to the span of the call, to be entered."""
        return self._resume()

    def limit(self, seconds: float) -> asyncio.Timeout:
        """Return a timeout after ``seconds``, or at the context's deadline if that is sooner; see :meth:`paused`."""
        self._timeout = asyncio.timeout_at(self._until(seconds))
        return self._timeout

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the timeout within the context: the server waits for us, not we for it. The deadline stays."""
        timeout = self._timeout
        now = asyncio.get_running_loop().time()
        if timeout is None or timeout.expired():
            yield
            return
        if self._pauses == 0:
            self._left = max((timeout.when() or now) - now, 0.0)
            timeout.reschedule(self.context.deadline)
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if self._pauses == 0 and self._timeout is timeout and not timeout.expired():
                timeout.reschedule(self._until(self._left))

    def finish(self) -> None:
        """End the call: its timeout is not rescheduled any more."""
        self._timeout = None

    def _until(self, seconds: float) -> float:
        until = asyncio.get_running_loop().time() + seconds
        deadline = self.context.deadline
        return until if deadline is None else min(until, deadline)


class InFlightCalls:
    """The calls that one server is working on."""

    def __init__(self) -> None:
        self._attempts: list[CallAttempt] = []

    def __len__(self) -> int:
        return len(self._attempts)

    @contextmanager
    def running(self, attempt: CallAttempt) -> Iterator[None]:
        self._attempts.append(attempt)
        try:
            yield
        finally:
            self._attempts.remove(attempt)
            attempt.finish()

    def attempt_for(self, by: Literal["approve", "elicit", "on_log"]) -> CallAttempt | None:
        """Return the call that a message of the server belongs to, which goes to the callback ``by`` of its context.

        Over a pipe a server does not say which call it means. If the calls in flight do not all have the same callback,
        a guess could show one user's data to another: then the result is ``None``.
        """
        current = CURRENT_ATTEMPT.get()
        if current is not None and current in self._attempts:
            return current
        people = {getattr(attempt.context, by) for attempt in self._attempts}
        return self._attempts[-1] if len(people) == 1 else None

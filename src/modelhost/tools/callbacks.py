"""Tool calls in flight, and what MCP servers may request of the host meanwhile (approval, elicitation, sampling)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from modelhost import lazy
from modelhost.tools.entry import Approval
from modelhost.tracing import spans

STRICTNESS: Final[tuple[Approval, ...]] = ("auto", "read_only", "ask", "deny")
Verdict = Literal["run", "ask", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """A request for approval: of a tool call, or of a server's sampling request."""

    kind: Literal["tool", "sampling"]
    server: str
    name: str
    """The tool's name for models; for sampling the server's name."""
    tool: str | None
    """The original name; for sampling that of the tool whose call needs it, if known."""
    arguments: Mapping[str, Any] = field(repr=False)
    annotations: Mapping[str, Any]
    """The tool's own hints, such as ``readOnlyHint`` and ``title``."""


def stricter(one: Approval, other: Approval | None) -> Approval:
    return one if other is None else max(one, other, key=STRICTNESS.index)


def verdict(approval: Approval, *, is_read_only: bool) -> Verdict:
    """Return what to do with a call. ``is_read_only`` is what the tool declares (``readOnlyHint``)."""
    match approval:
        case "auto":
            return "run"
        case "read_only":
            return "run" if is_read_only else "ask"
        case _:
            return approval


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """The progress of a call, in the tool's own unit."""

    server: str
    tool: str
    progress: float
    total: float | None
    message: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLogLine:
    """A log message that a server sent during a call."""

    server: str
    level: str
    logger: str | None
    data: Any = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElicitationRequest:
    """A server's request for information from the user."""

    server: str
    tool: str
    message: str = field(repr=False)
    mode: Literal["form", "url"] = "form"
    schema: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """For a form: the JSON schema of a flat object."""
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElicitationAnswer:
    """The user's answer. ``content`` comes with an accepted form."""

    action: Literal["accept", "decline", "cancel"]
    content: Mapping[str, str | int | float | bool | list[str] | None] | None = field(default=None, repr=False)


class CallContext(Struct, frozen=True, kw_only=True):
    """The callbacks and limits of one call. Asking a user pauses the server's timeout, but not the deadline."""

    approve: Callable[[ApprovalRequest], Awaitable[bool | None]] | None = None
    """Returns whether the call may run; ``None``: there was no answer."""
    elicit: Callable[[ElicitationRequest], Awaitable[ElicitationAnswer]] | None = None
    on_progress: Callable[[ToolProgress], Awaitable[None]] | None = None
    on_log: Callable[[ToolLogLine], Awaitable[None]] | None = None
    deadline: float | None = None
    """In the time of the event loop."""
    approval: Approval | None = None
    """The rule of the request; the stricter of this and the entry's applies."""
    granted: frozenset[str] | None = None
    """The tools of the request, by their names for models; no others exist for it. ``None``: all."""
    depth: int = 0
    """The number of tool calls around the request that makes this one; the server gets one more."""
    call_id: str | None = None
    """The model's id of the call."""


NO_CONTEXT = CallContext()

Content = dict[str, str | int | float | bool | list[str] | None]


def filled_in(schema: Mapping[str, Any], content: Mapping[str, Any]) -> Content:
    """Return ``content`` of an accepted form with the form's defaults; ``None`` is a field that was left out."""
    fields = schema.get("properties") or {}
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    return {**defaults, **{name: value for name, value in content.items() if value is not None}}


def problems_of(schema: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with ``content``, in sentences for the user who filled in the form."""
    return lazy.tool_arguments.ArgumentCheck(dict(schema), checks_formats=True).problems(filled_in(schema, content))


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRequest:
    """A server's request for a completion (``sampling/createMessage``), in the terms of the chat API."""

    server: str
    messages: tuple[Mapping[str, Any], ...] = field(repr=False)
    max_tokens: int
    """What the server requests or its policy allows, whichever is less."""
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    tool_choice: Literal["auto", "required", "none"] | None = None
    hints: tuple[str, ...] = ()
    """Names, or parts of names, of models; the first that fits is preferred."""
    cost_priority: float | None = None
    speed_priority: float | None = None
    intelligence_priority: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledCall:
    """A tool call that the model requests; the server makes it."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingAnswer:
    text: str = field(repr=False)
    model: str
    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"
    tool_calls: tuple[SampledCall, ...] = ()


class Sampler(Protocol):
    """Answers sampling requests with a local model."""

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Return the answer.

        Raises:
            ModelhostError: why it cannot; the message is sent to the server.
        """
        ...


CURRENT_ATTEMPT: Final[ContextVar[CallAttempt | None]] = ContextVar("modelhost_tool_call", default=None)
"""The call that the running code works for. The SDK carries it into the tasks that send a request over HTTP and into
those that handle what arrives on that request's own stream."""
DEPTH_META_KEY: Final = "modelhost/depth"
"""In the ``_meta`` of a call: how deeply it is nested in other calls, as ``DEPTH_HEADER`` says in an HTTP request."""


class CallAttempt:
    """One attempt at a call: whether it was sent, whom it belongs to, and how long it may still take."""

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

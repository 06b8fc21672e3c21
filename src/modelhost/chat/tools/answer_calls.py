"""The calls that the host makes for one answer: which of them are made, their events, and their end."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from modelhost.chat.tools.answer_stream import AnswerStream
from modelhost.chat.tools.approvals import Approved, context_for, denied
from modelhost.chat.tools.calls import RequestedCall, approval_needed, call_finished, call_started
from modelhost.chat.tools.loop_turn import LoopTurn
from modelhost.chat.tools.questions import Questions
from modelhost.exchange.events import CallCancelled
from modelhost.exchange.requests import HostCalls, PendingCall
from modelhost.tools.call_spans import DECISIONS, DEFERRED, decided
from modelhost.tools.callbacks import CallContext
from modelhost.tools.outcome import ToolOutcome

if TYPE_CHECKING:  # the MCP SDK is behind it
    from modelhost.tools.catalogue import OfferedTool

MALFORMED = frozenset({"invalid_arguments", "tool_not_found"})
"""Failures that the model caused and may repair in the next turn."""


class ToolRunner(Protocol):
    """Runs calls of tools."""

    def find(self, name: str) -> OfferedTool | None: ...

    def needs_approval(self, name: str, arguments: Mapping[str, Any] | str, context: CallContext) -> bool: ...

    async def call(self, name: str, arguments: Mapping[str, Any] | str, context: CallContext) -> ToolOutcome: ...


class AnswerCalls:
    """The host's calls of one answer."""

    def __init__(  # noqa: PLR0913, PLR0917 (the collaborators of the loop)
        self,
        tools: ToolRunner,
        stream: AnswerStream,
        context: CallContext,
        questions: Questions | None,
        policy: HostCalls,
        same_call: int,
    ) -> None:
        """Take the collaborators; a call is refused in the turn in which it is requested for the ``same_call`` time."""
        self._tools = tools
        self._stream = stream
        self._context = context
        self._questions = questions
        self._policy = policy
        self._same_call = same_call
        self._seen: Counter[tuple[str, str]] = Counter()
        self._malformed_turns = 0
        self._count = 0
        self._running: set[asyncio.Task[ToolOutcome]] = set()
        self._surroundings = copy_context()
        """Of the whole answer: calls belong to it, and not to the turn that may still be written when they begin."""

    def end_by(self, deadline: float) -> None:
        """Let the servers know when the answer has to be over, in the time of the event loop."""
        self._context = replace(self._context, deadline=deadline)

    @property
    def may_make_more(self) -> bool:
        """Whether the request permits another call."""
        return self._policy.max_calls is None or self._count < self._policy.max_calls

    # Calls of a turn.

    def begin(self, turn: LoopTurn, calls: Sequence[RequestedCall]) -> None:
        """Begin those of the complete ``calls`` of ``turn`` that the host makes."""
        for call in calls:
            if turn.client_calls.has(call.name):
                continue
            if not turn.may_call or turn.repeated is not None:
                return
            if self._seen[_key(call)] >= self._same_call - 1:
                turn.repeated = call.name
                return
            if not self.may_make_more:
                continue
            self._count += 1
            if self._is_deferred(call):
                turn.deferred.append(call)
            else:
                turn.made.append(call)
                turn.running.append(self._start(call, turn.number, self._context))

    def note(self, turn: LoopTurn, outcomes: Sequence[ToolOutcome]) -> None:
        """Note a turn that is over, for :attr:`stays_malformed` and calls that are repeated."""
        self._seen.update({_key(call) for call in turn.collector.calls})
        is_malformed = bool(outcomes) and all(outcome.code in MALFORMED for outcome in outcomes)
        self._malformed_turns = self._malformed_turns + 1 if is_malformed else 0

    @property
    def stays_malformed(self) -> bool:
        """Whether the calls of the last two turns were all malformed."""
        return self._malformed_turns > 1

    async def ask_for(self, turn: LoopTurn) -> None:
        """Send which calls of ``turn`` need an approval by another request."""
        for call in turn.deferred:
            decided(call.name, DEFERRED)
            await self._stream.send(approval_needed(call, self._tools.find(call.name), turn.number))

    def _is_deferred(self, call: RequestedCall) -> bool:
        if not self._policy.defers_approvals:
            return False
        context = context_for(self._tools.find(call.name), self._policy.rules, self._context)
        return self._tools.needs_approval(call.name, call.arguments or "{}", context)

    # Calls that a previous answer left to be approved.

    async def settle(self, pending: Sequence[PendingCall]) -> Sequence[ToolOutcome]:
        """Make those that are approved; return the outcomes of all."""
        running = [self._settling(call) for call in pending]
        return await asyncio.gather(*running)

    def _settling(self, pending: PendingCall) -> asyncio.Task[ToolOutcome]:
        call, tool = requested(pending), self._tools.find(pending.name)
        if not pending.is_approved:
            return self._task(call, self._deny(call, denied(pending, tool)))
        self._count += 1
        return self._start(call, 0, self._context, is_approved=True)

    async def _deny(self, call: RequestedCall, outcome: ToolOutcome) -> ToolOutcome:
        decided(call.name, DECISIONS[False])
        await self._stream.send(call_started(call, self._tools.find(call.name), 0))
        await self._stream.send(call_finished(call, outcome))
        return outcome

    # One call.

    def _start(
        self, call: RequestedCall, turn: int, context: CallContext, *, is_approved: bool = False
    ) -> asyncio.Task[ToolOutcome]:
        context = replace(self._stream.in_context(context, call.id), call_id=call.id)
        if self._questions is not None:
            context = self._questions.in_context(context, call.id, self._stream.send)
        if is_approved:
            context = replace(context, approve=Approved(context.approve))
        return self._task(call, self._call(call, turn, context))

    def _task(self, call: RequestedCall, work: Coroutine[Any, Any, ToolOutcome]) -> asyncio.Task[ToolOutcome]:
        task = asyncio.create_task(work, name=f"call of {call.name}", context=self._surroundings.copy())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _call(self, call: RequestedCall, turn: int, context: CallContext) -> ToolOutcome:
        await self._stream.send(call_started(call, self._tools.find(call.name), turn))
        try:
            outcome = await self._tools.call(call.name, call.arguments or "{}", context)
        except asyncio.CancelledError:
            self._stream.send_if_room(CallCancelled(id=call.id, name=call.name))
            raise
        await self._stream.send(call_finished(call, outcome))
        return outcome

    async def end(self) -> None:
        """Cancel the running calls."""
        calls = list(self._running)
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)


def server_of(tools: ToolRunner, name: str) -> str:
    """Return the server of the tool with that name for models; empty if there is none."""
    tool = tools.find(name)
    return "" if tool is None else tool.server


def requested(pending: PendingCall) -> RequestedCall:
    """Return the call as the model requested it."""
    return RequestedCall(id=pending.id, name=pending.name, arguments=pending.arguments)


def _key(call: RequestedCall) -> tuple[str, str]:
    """Return a key that equal calls share, however their arguments are formatted."""
    return call.name, json.dumps(call.decoded(), sort_keys=True)

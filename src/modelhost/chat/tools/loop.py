"""The tool loop: a conversation goes on, turn by turn, until the model answers without asking for a tool.

The host runs the calls; the client sees one answer. Text comes as the model writes it. What happens besides is told in
events of its own, which doors tell in their way.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec.structs import replace

from modelhost.chat import images, usage
from modelhost.chat.tools import context_budget
from modelhost.chat.tools.answer_stream import AnswerStream, cancelled, finished, started
from modelhost.chat.tools.calls import CallCollector, RequestedCall
from modelhost.chat.tools.questions import Questions
from modelhost.errors import ContextLengthExceeded, RequestError
from modelhost.exchange.chunks import REASONING
from modelhost.exchange.events import (
    Event,
    Finish,
    FinishDetails,
    Pieces,
    PieceStream,
    Reasoning,
    Text,
    ToolCallPiece,
    Usage,
)
from modelhost.exchange.messages import Message
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest
from modelhost.logs import get_logger, has_debug
from modelhost.tools.context import CallContext
from modelhost.tools.outcome import ToolOutcome

log = get_logger(__name__)

Messages = tuple[Message, ...]
OpenTurn = Callable[[ChatRequest], AbstractAsyncContextManager[Pieces]]
"""Begins one turn of the model with a request: the pieces of its answer, the last one the usage."""

MALFORMED = frozenset({"invalid_arguments", "tool_not_found"})
"""Failures that are the model's own, which it may repair in the next turn."""
MALFORMED_CALL = "malformed_call"
CUTS = 12
"""Attempts to cut what does not fit. Where tokens are counted two are enough; halving needs a few more."""


class ToolRunner(Protocol):
    """Whatever runs a call."""

    async def call(self, name: str, arguments: Mapping[str, Any] | str, context: CallContext) -> ToolOutcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopLimits:
    """When the host ends a loop that does not end by itself."""

    turns: int = 10
    same_call: int = 3
    """In so many turns a call with the same name and arguments is one too many, and is not made."""
    seconds: float = 600.0
    depth: int = 5
    """Of a request that stands in so many calls of tools already, no call is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopEnd:
    """How an answer ends."""

    finish_reason: str
    details: FinishDetails | None = None
    """Why the host ended it, if it did."""

    @property
    def kind(self) -> str | None:
        return None if self.details is None else self.details.kind


@dataclass(slots=True)
class _Turn:
    """What one turn of the model has given. In the last one that is allowed, and too deep, calls are not made."""

    may_call: bool
    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    repeated: str | None = None
    """The tool whose call is one too many; from it on, the turn's calls are not made."""
    collector: CallCollector = field(default_factory=CallCollector)
    running: list[asyncio.Task[ToolOutcome]] = field(default_factory=list)
    has_begun: bool = False
    """Whether the model has written anything."""


class ToolLoop:
    """One answer. ``run`` may be used once."""

    def __init__(  # noqa: PLR0913, PLR0917 (each is a side of the loop)
        self,
        open_turn: OpenTurn,
        tools: ToolRunner,
        limits: LoopLimits,
        context: CallContext,
        questions: Questions | None,
        sees_images: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take what is needed; without ``questions`` nobody can be asked, and what needs a yes is denied.

        ``sees_images`` says whether the model that wrote a turn can be shown the images of its results.
        """
        self._open_turn = open_turn
        self._tools = tools
        self._limits = limits
        self._context = context
        self._questions = questions
        self._sees_images = sees_images
        self._told = AnswerStream()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._malformed_turns = 0
        self._calls: set[asyncio.Task[ToolOutcome]] = set()
        self._settled: list[Message] = []
        self._result_chars: int | None = None
        """As much of each result as the context holds, once that is known."""
        self._prompt_tokens = 0
        """Of the first turn."""
        self._turn: _Turn | None = None
        """The one that is not in ``_settled``."""
        self.usage: dict[str, Any] | None = None
        """Of all turns together."""

    @property
    def transcript(self) -> list[Message]:
        """What the turns added to the conversation: the calls that were made with their results, then what was said.

        There is no call without a result in it, however the answer ended. Of images it has what the text says of them.
        """
        return [
            *context_budget.cut_to(self._settled, self._result_chars),
            Message(role="assistant", content=self._turn.text if self._turn else ""),
        ]

    async def run(self, request: ChatRequest) -> PieceStream:
        """Yield the pieces of the answer to ``request``, the last of them the usage.

        Closing it cancels the generation and the calls that run.

        Raises:
            ModelhostError: the model's side failed; a failed call is none.
        """
        driver = asyncio.create_task(self._drive(request), name="tool loop")
        try:
            while (piece := await self._told.next()) is not None:
                yield piece
        finally:
            driver.cancel()
            await asyncio.wait([driver])
            await self._end_calls()

    async def _drive(self, request: ChatRequest) -> None:
        try:
            deadline = asyncio.get_running_loop().time() + self._limits.seconds
            self._context = replace(self._context, deadline=deadline)
            try:
                async with asyncio.timeout_at(deadline) as timeout:
                    ending = await self._turns(request)
            except TimeoutError:
                if not timeout.expired():
                    raise
                await self._end_calls()
                ending = _ended("time_limit", f"The answer took longer than {self._limits.seconds:g} s.")
            if has_debug():
                log.debug("tool_loop_ended", finish_reason=ending.finish_reason, kind=ending.kind)
            await self._told.finish(ending.finish_reason, ending.details, self.usage)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 (raised again where the answer is read)
            await self._told.fail(error)

    async def _turns(self, request: ChatRequest) -> LoopEnd:
        messages = request.messages
        budget = request.sampling.budget
        is_too_deep = self._context.depth >= self._limits.depth
        spoken: Messages | None = None
        for number in range(1, self._limits.turns + 1):
            turn = self._turn = _Turn(may_call=number < self._limits.turns and not is_too_deep)
            written = await self._write(turn, request, messages, spoken, number)
            if written is None:
                return _ended("context_limit", "What the tools returned does not fit into the context of the model.")
            messages, spoken = written, None
            if not turn.collector.calls:
                return LoopEnd(finish_reason=turn.finish_reason or "stop")
            if is_too_deep:
                return _ended("depth_limit", f"The request stands in {self._context.depth} calls of tools already.")
            if not turn.may_call:
                break
            outcomes = await asyncio.gather(*turn.running)
            ending = await self._reason_to_end(turn, outcomes, budget)
            if outcomes and (ending is None or ending.kind != MALFORMED_CALL):
                made = _turn_messages(turn, outcomes)
                if self._sees_images() and any(outcome.images for outcome in outcomes):
                    spoken = (*messages, *made)
                    messages = (*messages, *_with_images(made, outcomes))
                else:
                    messages = (*messages, *made)
                self._settled += made
                self._turn = None
            if ending is not None:
                return ending
        return _ended("turn_limit", f"The model still wanted tools in turn {self._limits.turns}, the last one allowed.")

    async def _write(
        self, turn: _Turn, request: ChatRequest, messages: Messages, spoken: Messages | None, number: int
    ) -> Messages | None:
        """Let the model write; return the messages that it got, ``None`` if they do not fit, however they are cut."""
        try:
            if await self._write_what_fits(turn, request, messages, number):
                return messages
        except RequestError:
            if spoken is None or turn.has_begun:
                raise
        # The model cannot look at what a tool returned, such as a damaged image: it gets the words about it.
        if spoken is not None and await self._write_what_fits(turn, request, spoken, number):
            return spoken
        return None

    async def _write_what_fits(self, turn: _Turn, request: ChatRequest, messages: Messages, number: int) -> bool:
        """Let the model write, with the results of tools cut until they fit; return whether anything of them does."""
        for _ in range(CUTS):
            try:
                await self._let_write(turn, self._request(request, messages, number))
            except ContextLengthExceeded as error:
                if number == 1 or turn.has_begun:
                    raise
                results = messages[len(request.messages) :]
                limit = context_budget.shorter(results, self._result_chars, error, self._prompt_tokens + self._tokens())
                if limit is None:
                    return False
                tokens, context = error.details.get("prompt_tokens"), error.details.get("context_length")
                log.debug("tool_results_cut", chars=limit, turn=number, prompt_tokens=tokens, context_length=context)
                self._result_chars = limit
            else:
                return True
        return False

    def _request(self, request: ChatRequest, messages: Messages, number: int) -> ChatRequest:
        given, sampling = len(request.messages), request.sampling
        cut = (*messages[:given], *context_budget.cut_to(messages[given:], self._result_chars))
        if sampling.budget is not None:
            left = sampling.budget - self._tokens()
            sampling = replace(sampling, max_tokens=left, max_completion_tokens=None)
        made = replace(request, messages=cut, sampling=sampling)
        # What the client demands, it demands of the first turn.
        return made if number == 1 else replace(made, tool_choice="auto", named_tool=None)

    async def _let_write(self, turn: _Turn, request: ChatRequest) -> None:
        """Let the model write; calls begin as soon as they are complete."""
        async with self._open_turn(request) as pieces:
            async for piece in pieces:
                turn.has_begun = True
                for event in piece:
                    self._take(turn, event)
                await self._told.written(piece)
        self._begin(turn, turn.collector.end())

    def _take(self, turn: _Turn, event: Event) -> None:
        if isinstance(event, Text):
            turn.text += event.text
        elif isinstance(event, Reasoning):
            turn.reasoning += event.text
        elif isinstance(event, ToolCallPiece):
            self._begin(turn, turn.collector.add(event))
        elif isinstance(event, Finish):
            turn.finish_reason = event.reason
        elif isinstance(event, Usage) and event.usage:
            self._prompt_tokens = self._prompt_tokens or event.usage.get("prompt_tokens", 0)
            self.usage = self._told.spent = usage.added(self.usage, event.usage)

    # Calls.

    def _begin(self, turn: _Turn, calls: Sequence[RequestedCall]) -> None:
        for call in calls:
            if not turn.may_call or turn.repeated is not None:
                return
            if self._seen[_key(call)] >= self._limits.same_call - 1:
                turn.repeated = call.name
                return
            task = asyncio.create_task(self._call(call), name=f"call of {call.name}")
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            turn.running.append(task)

    async def _call(self, call: RequestedCall) -> ToolOutcome:
        await self._told.tell(started(call))
        try:
            outcome = await self._tools.call(call.name, call.arguments or "{}", self._told_by(call))
        except asyncio.CancelledError:
            self._told.remark(cancelled(call))
            raise
        await self._told.tell(finished(call, outcome))
        return outcome

    def _told_by(self, call: RequestedCall) -> CallContext:
        context = self._told.in_context(self._context, call.id)
        if self._questions is None:
            return context
        return self._questions.in_context(context, call.id, self._told.tell)

    async def _end_calls(self) -> None:
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)

    # Ends.

    async def _reason_to_end(self, turn: _Turn, outcomes: Sequence[ToolOutcome], budget: int | None) -> LoopEnd | None:
        if turn.repeated is not None:
            times = f"{self._limits.same_call} turns"
            return _ended("repeated_call", f"The model wanted {turn.repeated} with the same arguments in {times}.")
        self._seen.update({_key(call) for call in turn.collector.calls})
        is_malformed = bool(outcomes) and all(outcome.code in MALFORMED for outcome in outcomes)
        self._malformed_turns = self._malformed_turns + 1 if is_malformed else 0
        if self._malformed_turns > 1:
            written = "\n".join(f"{call.name} {call.arguments}".strip() for call in turn.collector.calls)
            turn.text += written
            await self._told.say(written)
            details = FinishDetails(kind=MALFORMED_CALL, message="The model's call stayed malformed.")
            return LoopEnd(finish_reason="stop", details=details)
        if budget is not None and self._tokens() >= budget:
            return _ended("token_limit", f"The {budget} tokens are used up.")
        return None

    def _tokens(self) -> int:
        return int((self.usage or {}).get("completion_tokens", 0))


def _ended(kind: str, message: str) -> LoopEnd:
    return LoopEnd(finish_reason="length", details=FinishDetails(kind=kind, message=message))


def _turn_messages(turn: _Turn, outcomes: Sequence[ToolOutcome]) -> list[Message]:
    """Return the turn as the model will see it: what it wrote, and what those of its calls gave that were made."""
    calls = turn.collector.calls[: len(outcomes)]
    asked = Message(
        role="assistant",
        content=turn.text or None,
        tool_calls=tuple(call.in_message() for call in calls),
        # Templates show it within the loop: without it the next turn's prompt would not begin as this one ended.
        extra={REASONING: turn.reasoning} if turn.reasoning else NOTHING,
    )
    results = [
        Message(role="tool", tool_call_id=call.id, content=outcome.text)
        for call, outcome in zip(calls, outcomes, strict=True)
    ]
    return [asked, *results]


def _with_images(made: Sequence[Message], outcomes: Sequence[ToolOutcome]) -> list[Message]:
    """Return the messages of a turn with the images of its results.

    They stand in the messages of the tools: one by the user after those would be the beginning of something new to many
    templates, which then leave out what the model thought before.
    """
    asked, *results = made
    shown = zip(results, outcomes, strict=True)
    return [asked, *(replace(result, content=images.content_with_images(outcome)) for result, outcome in shown)]


def _key(call: RequestedCall) -> tuple[str, str]:
    """Return what calls that are the same have in common, however their arguments are written."""
    return call.name, json.dumps(call.decoded(), sort_keys=True)

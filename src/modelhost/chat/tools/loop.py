"""The tool loop: turn after turn, until the model answers without calling a tool.

The host runs the calls; the client sees one answer, streamed as the model writes it. What happens between the turns
is sent as events, which each door renders in its own way.
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
from modelhost.chat.tools.answer_stream import AnswerStream
from modelhost.chat.tools.calls import CallCollector, RequestedCall, call_cancelled, call_finished, call_started
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
from modelhost.tools.callbacks import CallContext
from modelhost.tools.outcome import ToolOutcome

log = get_logger(__name__)

Messages = tuple[Message, ...]
OpenTurn = Callable[[ChatRequest], AbstractAsyncContextManager[Pieces]]
"""Opens one turn of the model with a request: the pieces of its answer, the last one the usage."""

MALFORMED = frozenset({"invalid_arguments", "tool_not_found"})
"""Failures that the model caused and may repair in the next turn."""
MALFORMED_CALL = "malformed_call"
MAX_TRUNCATIONS = 12
"""Attempts to truncate results that do not fit. Two are enough where tokens are counted; halving needs more."""


class ToolRunner(Protocol):
    """Runs calls of tools."""

    async def call(self, name: str, arguments: Mapping[str, Any] | str, context: CallContext) -> ToolOutcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopLimits:
    """The limits at which the host ends a loop."""

    turns: int = 10
    same_call: int = 3
    """Turns with the same call (name and arguments), of which the last is refused."""
    seconds: float = 600.0
    depth: int = 5
    """Nesting of tool calls at which a request may make no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopEnd:
    """How an answer ends."""

    finish_reason: str
    details: FinishDetails | None = None
    """Why the host ended it, or the last turn, if it did."""

    @property
    def kind(self) -> str | None:
        return None if self.details is None else self.details.kind


@dataclass(slots=True)
class _Turn:
    """What the model wrote in one turn. Calls are not made in the last turn, nor at the depth limit."""

    may_call: bool
    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    finish_details: FinishDetails | None = None
    repeated: str | None = None
    """The tool that was called too often; neither that call nor later ones of the turn are made."""
    collector: CallCollector = field(default_factory=CallCollector)
    running: list[asyncio.Task[ToolOutcome]] = field(default_factory=list)
    has_begun: bool = False
    """Whether the model has written anything."""


class ToolLoop:
    """One answer; ``run`` may be called once."""

    def __init__(  # noqa: PLR0913, PLR0917 (the collaborators of the loop)
        self,
        open_turn: OpenTurn,
        tools: ToolRunner,
        limits: LoopLimits,
        context: CallContext,
        questions: Questions | None,
        sees_images: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the collaborators; without ``questions``, calls that need approval are denied.

        ``sees_images`` returns whether the model accepts images, such as those that tools return.
        """
        self._open_turn = open_turn
        self._tools = tools
        self._limits = limits
        self._context = context
        self._questions = questions
        self._sees_images = sees_images
        self._stream = AnswerStream()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._malformed_turns = 0
        self._calls: set[asyncio.Task[ToolOutcome]] = set()
        self._settled: list[Message] = []
        self._result_chars: int | None = None
        """The limit for each result, once it is known what fits into the context."""
        self._prompt_tokens = 0
        """Of the first turn."""
        self._turn: _Turn | None = None
        """The turn that is not in ``_settled`` yet."""
        self.usage: dict[str, Any] | None = None
        """Of all turns together."""

    @property
    def transcript(self) -> list[Message]:
        """The messages that the turns added: the calls that were made with their results, then the text.

        Each call in it has its result, however the answer ended. Images are left out; the texts describe them.
        """
        return [
            *context_budget.truncated(self._settled, self._result_chars),
            Message(role="assistant", content=self._turn.text if self._turn else ""),
        ]

    async def run(self, request: ChatRequest) -> PieceStream:
        """Yield the pieces of the answer to ``request``, the last of them the usage.

        Closing it cancels the generation and the running calls.

        Raises:
            ModelhostError: the generation failed. A failed call is part of the conversation instead.
        """
        driver = asyncio.create_task(self._drive(request), name="tool loop")
        try:
            while (piece := await self._stream.next()) is not None:
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
            await self._stream.finish(ending.finish_reason, ending.details, self.usage)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 (raised again where the answer is read)
            await self._stream.fail(error)

    async def _turns(self, request: ChatRequest) -> LoopEnd:
        messages = request.messages
        budget = request.sampling.budget
        is_too_deep = self._context.depth >= self._limits.depth
        fallback: Messages | None = None
        for number in range(1, self._limits.turns + 1):
            turn = self._turn = _Turn(may_call=number < self._limits.turns and not is_too_deep)
            written = await self._write(turn, request, messages, fallback, number)
            if written is None:
                return _ended("context_limit", "What the tools returned does not fit into the context of the model.")
            messages, fallback = written, None
            if not turn.collector.calls:
                return LoopEnd(finish_reason=turn.finish_reason or "stop", details=turn.finish_details)
            if is_too_deep:
                return _ended("depth_limit", f"The request stands in {self._context.depth} calls of tools already.")
            if not turn.may_call:
                break
            outcomes = await asyncio.gather(*turn.running)
            ending = await self._ending(turn, outcomes, budget)
            if outcomes and (ending is None or ending.kind != MALFORMED_CALL):
                made = _turn_messages(turn, outcomes)
                if self._sees_images() and any(outcome.images for outcome in outcomes):
                    fallback = (*messages, *made)
                    messages = (*messages, *_with_images(made, outcomes))
                else:
                    messages = (*messages, *made)
                self._settled += made
                self._turn = None
            if ending is not None:
                return ending
        return _ended(
            "turn_limit", f"The model still called tools in turn {self._limits.turns}, the last one permitted."
        )

    async def _write(
        self, turn: _Turn, request: ChatRequest, messages: Messages, fallback: Messages | None, number: int
    ) -> Messages | None:
        """Run the turn; return the messages that it was given, ``None`` if they do not fit, however truncated."""
        try:
            if await self._generate_fitting(turn, request, messages, number):
                return messages
        except RequestError:
            if fallback is None or turn.has_begun:
                raise
        # The model refused an image that a tool returned (it may be damaged): the fallback has texts only.
        if fallback is not None and await self._generate_fitting(turn, request, fallback, number):
            return fallback
        return None

    async def _generate_fitting(self, turn: _Turn, request: ChatRequest, messages: Messages, number: int) -> bool:
        """Run the turn, with tool results truncated until they fit; return whether they do."""
        for _ in range(MAX_TRUNCATIONS):
            try:
                await self._generate(turn, self._request(request, messages, number))
            except ContextLengthExceeded as error:
                if number == 1 or turn.has_begun:
                    raise
                results = messages[len(request.messages) :]
                before = self._prompt_tokens + self._tokens()
                limit = context_budget.shorter_limit(results, self._result_chars, error, before)
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
        kept = (*messages[:given], *context_budget.truncated(messages[given:], self._result_chars))
        if sampling.budget is not None:
            left = sampling.budget - self._tokens()
            sampling = replace(sampling, max_tokens=left, max_completion_tokens=None)
        made = replace(request, messages=kept, sampling=sampling)
        # A tool_choice of the client applies to the first turn.
        return made if number == 1 else replace(made, tool_choice="auto", named_tool=None)

    async def _generate(self, turn: _Turn, request: ChatRequest) -> None:
        """Run the turn; calls start as soon as they are complete."""
        async with self._open_turn(request) as pieces:
            async for piece in pieces:
                turn.has_begun = True
                for event in piece:
                    self._add(turn, event)
                await self._stream.forward(piece)
        self._begin(turn, turn.collector.end())

    def _add(self, turn: _Turn, event: Event) -> None:
        if isinstance(event, Text):
            turn.text += event.text
        elif isinstance(event, Reasoning):
            turn.reasoning += event.text
        elif isinstance(event, ToolCallPiece):
            self._begin(turn, turn.collector.add(event))
        elif isinstance(event, Finish):
            turn.finish_reason, turn.finish_details = event.reason, event.details
        elif isinstance(event, Usage) and event.usage:
            self._prompt_tokens = self._prompt_tokens or event.usage.get("prompt_tokens", 0)
            self.usage = self._stream.spent = usage.add_usage(self.usage, event.usage)

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
        await self._stream.send(call_started(call))
        try:
            outcome = await self._tools.call(call.name, call.arguments or "{}", self._context_of(call))
        except asyncio.CancelledError:
            self._stream.send_if_room(call_cancelled(call))
            raise
        await self._stream.send(call_finished(call, outcome))
        return outcome

    def _context_of(self, call: RequestedCall) -> CallContext:
        context = self._stream.in_context(self._context, call.id)
        if self._questions is None:
            return context
        return self._questions.in_context(context, call.id, self._stream.send)

    async def _end_calls(self) -> None:
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)

    # Ends.

    async def _ending(self, turn: _Turn, outcomes: Sequence[ToolOutcome], budget: int | None) -> LoopEnd | None:
        if turn.repeated is not None:
            times = f"{self._limits.same_call} turns"
            return _ended("repeated_call", f"The model wanted {turn.repeated} with the same arguments in {times}.")
        self._seen.update({_key(call) for call in turn.collector.calls})
        is_malformed = bool(outcomes) and all(outcome.code in MALFORMED for outcome in outcomes)
        self._malformed_turns = self._malformed_turns + 1 if is_malformed else 0
        if self._malformed_turns > 1:
            written = "\n".join(f"{call.name} {call.arguments}".strip() for call in turn.collector.calls)
            turn.text += written
            await self._stream.add_text(written)
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
    """Return the turn as messages: what the model wrote, and the results of the calls that were made."""
    calls = turn.collector.calls[: len(outcomes)]
    written = Message(
        role="assistant",
        content=turn.text or None,
        tool_calls=tuple(call.in_message() for call in calls),
        # Templates include it within a loop; without it, the next prompt would not begin with this turn's tokens.
        extra={REASONING: turn.reasoning} if turn.reasoning else NOTHING,
    )
    results = [
        Message(role="tool", tool_call_id=call.id, content=outcome.text)
        for call, outcome in zip(calls, outcomes, strict=True)
    ]
    return [written, *results]


def _with_images(made: Sequence[Message], outcomes: Sequence[ToolOutcome]) -> list[Message]:
    """Return the messages of a turn with the images of its results.

    The images are part of the tool messages: many templates drop earlier reasoning when a user message follows.
    """
    written, *results = made
    shown = zip(results, outcomes, strict=True)
    return [written, *(replace(result, content=images.content_with_images(outcome)) for result, outcome in shown)]


def _key(call: RequestedCall) -> tuple[str, str]:
    """Return a key that equal calls share, however their arguments are formatted."""
    return call.name, json.dumps(call.decoded(), sort_keys=True)

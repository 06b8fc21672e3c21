"""The tool loop: turn after turn, until the model answers without calling a tool.

The host runs the calls; the client sees one answer, streamed as the model writes it. What happens between the turns
is sent as events, which each door renders in its own way. If the request brings tools of the client's own beside those
of the host, the answer ends with the first turn that calls one of them, once the host's calls of that turn are over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from modelhost.chat import usage
from modelhost.chat.structured_output import OutputSchema
from modelhost.chat.tools import context_budget
from modelhost.chat.tools.answer_calls import AnswerCalls, ToolRunner, requested
from modelhost.chat.tools.answer_format import AnswerFormat
from modelhost.chat.tools.answer_stream import AnswerStream
from modelhost.chat.tools.client_calls import ClientCalls
from modelhost.chat.tools.loop_turn import LoopTurn, result_messages
from modelhost.chat.tools.questions import Questions
from modelhost.chat.tools.result_media import Modalities, has_media, with_media
from modelhost.chat.tools.turn_times import TurnTimes
from modelhost.errors import ContextLengthExceeded, RequestError
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
from modelhost.exchange.requests import AS_USUAL, ChatRequest, HostCalls, ToolMode
from modelhost.logs import get_logger, has_debug
from modelhost.tools.callbacks import CallContext
from modelhost.tools.outcome import ToolOutcome

log = get_logger(__name__)

Messages = tuple[Message, ...]
OpenTurn = Callable[[ChatRequest], AbstractAsyncContextManager[Pieces]]
"""Opens one turn of the model with a request: the pieces of its answer, the last one the usage."""

MALFORMED_CALL = "malformed_call"
NO_MORE_CALLS = "The calls that the request permits are made; the model wanted another one."
MAX_TRUNCATIONS = 12
"""Attempts to truncate results that do not fit. Two are enough where tokens are counted; halving needs more."""


class LoopLimits(Struct, frozen=True, kw_only=True):
    """The limits at which the host ends a loop."""

    turns: int = 10
    same_call: int = 3
    """Turns with the same call (name and arguments), of which the last is refused."""
    seconds: float = 600.0
    depth: int = 5
    """Nesting of tool calls at which a request may make no more."""


class LoopEnd(Struct, frozen=True, kw_only=True):
    """How an answer ends."""

    finish_reason: str
    details: FinishDetails | None = None
    """Why the host ended it, or the last turn, if it did."""

    @property
    def kind(self) -> str | None:
        return None if self.details is None else self.details.kind


class ToolLoop:
    """One answer; ``run`` may be called once."""

    def __init__(  # noqa: PLR0913, PLR0917 (the collaborators of the loop)
        self,
        open_turn: OpenTurn,
        tools: ToolRunner,
        limits: LoopLimits,
        context: CallContext,
        questions: Questions | None,
        modalities: Callable[[], Modalities] = Modalities,
        client_tools: Collection[str] = (),
        policy: HostCalls = AS_USUAL,
        schema: OutputSchema | None = None,
    ) -> None:
        """Take the collaborators; without ``questions``, calls that need approval are denied, unless deferred.

        ``modalities`` returns what the model accepts of that which tools return. ``client_tools`` are the names of the
        tools that the client runs. ``schema`` is that of the answer, as the client gave it
        (:mod:`modelhost.chat.tools.answer_format`).
        """
        self._open_turn = open_turn
        self._limits = limits
        self._is_too_deep = context.depth >= limits.depth
        self._depth = context.depth
        self._modalities = modalities
        self._client_tools = client_tools
        self._policy = policy
        self._format = AnswerFormat(schema)
        self._stream = AnswerStream()
        self._times = TurnTimes()
        self._calls = AnswerCalls(tools, self._stream, context, questions, policy, limits.same_call)
        self._settled: list[Message] = []
        self._result_chars: int | None = None
        """The limit for each result, once it is known what fits into the context."""
        self._prompt_tokens = 0
        """Of the first turn."""
        self._turn: LoopTurn | None = None
        """The turn that is not in ``_settled`` yet."""
        self._is_handed_over = False
        """Whether the answer ended with calls of the client."""
        self.usage: dict[str, Any] | None = None
        """Of all turns together."""

    @property
    def transcript(self) -> list[Message]:
        """The messages that the turns added: the calls that were made with their results, then the text.

        Each call of the host in it has its result, however the answer ended. Images are left out; the texts describe
        them.
        """
        settled = context_budget.truncated(self._settled, self._result_chars)
        if self._is_handed_over:
            return list(settled)
        return [
            *settled,
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
            await self._calls.end()

    async def _drive(self, request: ChatRequest) -> None:
        try:
            deadline = asyncio.get_running_loop().time() + self._limits.seconds
            self._calls.end_by(deadline)
            try:
                async with asyncio.timeout_at(deadline) as timeout:
                    ending = await self._turns(request)
            except TimeoutError:
                if not timeout.expired():
                    raise
                await self._calls.end()
                ending = _ended("time_limit", f"The answer took longer than {self._limits.seconds:g} s.")
            if has_debug():
                log.debug("tool_loop_ended", finish_reason=ending.finish_reason, kind=ending.kind)
            await self._stream.finish(ending.finish_reason, ending.details, self.usage, self._times.total)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 (raised again where the answer is read)
            await self._stream.fail(error)

    async def _turns(self, request: ChatRequest) -> LoopEnd:
        request, messages, fallback = await self._settled_calls(request)
        for number in range(1, self._limits.turns + 1):
            may_call = number < self._limits.turns and not self._is_too_deep
            turn = LoopTurn(number=number, may_call=may_call, client_calls=ClientCalls(self._client_tools))
            self._turn = turn
            written = await self._write(turn, request, messages, fallback)
            if written is None:
                return _ended("context_limit", "What the tools returned does not fit into the context of the model.")
            messages, fallback = written, None
            if turn.client_calls or turn.deferred:
                return await self._hand_over(turn)
            if not turn.collector.calls:
                return await self._answered(turn, request, messages)
            if self._is_too_deep:
                return _ended("depth_limit", f"The request stands in {self._depth} calls of tools already.")
            if not turn.may_call:
                break
            outcomes = await turn.outcomes()
            ending = await self._ending(turn, outcomes, request.sampling.budget)
            if outcomes and (ending is None or ending.kind != MALFORMED_CALL):
                made = turn.messages(outcomes)
                messages, fallback = self._with(messages, made, outcomes)
                self._settled += made
                self._turn = None
            if ending is not None:
                return ending
        return _ended(
            "turn_limit", f"The model still called tools in turn {self._limits.turns}, the last one permitted."
        )

    async def _settled_calls(self, request: ChatRequest) -> tuple[ChatRequest, Messages, Messages | None]:
        """Make the calls that a previous answer left to be approved.

        Returns the request up to the message that has these calls, and the messages of the first turn, with a fallback
        if they have images or sounds. A text of the model right before the calls belongs into that message.
        """
        pending = self._policy.pending
        if not pending:
            return request, request.messages, None
        outcomes = await self._calls.settle(pending)
        calls = [requested(call) for call in pending]
        given, called = request.messages, tuple(call.in_message() for call in calls)
        if given and given[-1].role == "assistant" and not given[-1].tool_calls:
            *before, last = given
            given, caller = tuple(before), replace(last, content=last.content or None, tool_calls=called)
        else:
            caller = Message(role="assistant", tool_calls=called)
        made = [caller, *result_messages(calls, outcomes)]
        self._settled += made
        return replace(request, messages=given), *self._with(given, made, outcomes)

    def _with(
        self, messages: Messages, made: Sequence[Message], outcomes: Sequence[ToolOutcome]
    ) -> tuple[Messages, Messages | None]:
        """Return ``messages`` followed by calls with their results; if those have more than text, also without."""
        modalities = self._modalities()
        if has_media(outcomes, modalities):
            return (*messages, *with_media(made, outcomes, modalities)), (*messages, *made)
        return (*messages, *made), None

    async def _hand_over(self, turn: LoopTurn) -> LoopEnd:
        """End the answer with what the client has to do, once the host's calls are over: run calls, approve others."""
        outcomes = await turn.outcomes()
        await self._stream.send_calls(turn.client_calls.held())
        await self._calls.ask_for(turn)
        self._settled += turn.messages(outcomes)
        self._turn, self._is_handed_over = None, True
        return LoopEnd(finish_reason=turn.finish_reason or "tool_calls", details=turn.finish_details)

    async def _write(
        self, turn: LoopTurn, request: ChatRequest, messages: Messages, fallback: Messages | None
    ) -> Messages | None:
        """Run the turn; return the messages that it was given, ``None`` if they do not fit, however truncated."""
        try:
            if await self._generate_fitting(turn, request, messages):
                return messages
        except RequestError:
            if fallback is None or turn.has_begun:
                raise
        # The model refused what a tool returned (it may be damaged): the fallback has texts only.
        if fallback is not None and await self._generate_fitting(turn, request, fallback):
            return fallback
        return None

    async def _generate_fitting(self, turn: LoopTurn, request: ChatRequest, messages: Messages) -> bool:
        """Run the turn, with tool results truncated until they fit; return whether they do."""
        for _ in range(MAX_TRUNCATIONS):
            try:
                await self._generate(turn, self._request(turn, request, messages))
            except ContextLengthExceeded as error:
                results = messages[len(request.messages) :]
                if not results or turn.has_begun:
                    raise
                before = self._prompt_tokens + self._tokens()
                limit = context_budget.shorter_limit(results, self._result_chars, error, before)
                if limit is None:
                    return False
                tokens, context = error.details.get("prompt_tokens"), error.details.get("context_length")
                log.debug(
                    "tool_results_cut", chars=limit, turn=turn.number, prompt_tokens=tokens, context_length=context
                )
                self._result_chars = limit
            else:
                return True
        return False

    async def _answered(self, turn: LoopTurn, request: ChatRequest, messages: Messages) -> LoopEnd:
        """End the answer after a turn without calls, with one more turn if it has to have a format and has not."""
        if turn.is_held_back and not self._format.is_kept(turn):
            budget = request.sampling.budget
            if budget is not None and self._tokens() >= budget:
                return _ended("token_limit", f"The {budget} tokens are used up.")
            turn = LoopTurn(number=turn.number + 1, may_call=False, client_calls=ClientCalls(()))
            self._turn = turn
            if await self._write(turn, request, messages, None) is None:
                return _ended("context_limit", "What the tools returned does not fit into the context of the model.")
        elif turn.is_held_back:
            await self._stream.add_text(turn.text)
            return LoopEnd(finish_reason=turn.finish_reason or "stop", details=turn.finish_details)
        details = turn.finish_details or self._format.violation(turn)
        return LoopEnd(finish_reason=turn.finish_reason or "stop", details=details)

    def _request(self, turn: LoopTurn, request: ChatRequest, messages: Messages) -> ChatRequest:
        given, sampling = len(request.messages), request.sampling
        kept = (*messages[:given], *context_budget.truncated(messages[given:], self._result_chars))
        if sampling.budget is not None:
            left = sampling.budget - self._tokens()
            sampling = replace(sampling, max_tokens=left, max_completion_tokens=None)
        made = replace(request, messages=kept, sampling=sampling)
        if not self._calls.may_make_more:
            made = _without_host_tools(made, self._client_tools)
        elif turn.number > 1:  # a tool_choice of the client applies to the first turn
            made = replace(made, tool_choice="auto", named_tool=None)
        turn.is_held_back = self._format.is_free(made, may_call=turn.may_call)
        return self._format.applied(made, turn)

    async def _generate(self, turn: LoopTurn, request: ChatRequest) -> None:
        """Run the turn; calls start as soon as they are complete."""
        self._times.begin()
        async with self._open_turn(request) as pieces:
            async for piece in pieces:
                turn.has_begun = True
                self._times.note(piece)
                for event in piece:
                    self._add(turn, event)
                calls: Sequence[Event] = ()
                if self._client_tools:
                    calls = turn.client_calls.take(piece, turn.collector.calls, is_held=bool(turn.running))
                shown = self._format.shown(turn, piece) if turn.is_held_back else piece
                if shown:
                    await self._stream.forward(shown, calls)
        self._times.end()
        self._calls.begin(turn, turn.collector.end())

    def _add(self, turn: LoopTurn, event: Event) -> None:
        if isinstance(event, Text):
            turn.text += event.text
        elif isinstance(event, Reasoning):
            turn.reasoning += event.text
        elif isinstance(event, ToolCallPiece):
            self._calls.begin(turn, turn.collector.add(event))
        elif isinstance(event, Finish):
            turn.finish_reason, turn.finish_details = event.reason, event.details
        elif isinstance(event, Usage) and event.usage:
            self._prompt_tokens = self._prompt_tokens or event.usage.get("prompt_tokens", 0)
            self.usage = self._stream.spent = usage.add_usage(self.usage, event.usage)

    # Ends.

    async def _ending(self, turn: LoopTurn, outcomes: Sequence[ToolOutcome], budget: int | None) -> LoopEnd | None:
        if turn.repeated is not None:
            times = f"{self._limits.same_call} turns"
            return _ended("repeated_call", f"The model wanted {turn.repeated} with the same arguments in {times}.")
        self._calls.note(turn, outcomes)
        if not outcomes:
            return LoopEnd(finish_reason="stop", details=FinishDetails(kind="call_limit", message=NO_MORE_CALLS))
        if self._calls.stays_malformed:
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


def _without_host_tools(request: ChatRequest, client_tools: Collection[str]) -> ChatRequest:
    """Return ``request`` such that the model can call no tools but those of the client that it may call."""
    allowed = client_tools if request.allowed_tools is None else request.allowed_tools & set(client_tools)
    own = tuple(tool for tool in request.tools or () if tool.name in allowed)
    choice: ToolMode = "auto" if own else "none"
    return replace(request, tools=own, tool_choice=choice, named_tool=None, allowed_tools=None)

"""The tool loop: a conversation goes on, turn by turn, until the model answers without asking for a tool.

The host runs the calls; the client sees one answer. Text comes as the model writes it. What happens besides is told in
extension fields on chunks whose delta is empty, which ordinary clients pass over (:mod:`modelhost.chat.tool_events`).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from modelhost.chat import images, room, usage
from modelhost.chat.questions import Questions
from modelhost.chat.tool_calls import CallCollector, WantedCall
from modelhost.chat.tool_events import CALL, CALL_ENDED, RESULT, Chunk, Told, call_fields, result_fields
from modelhost.errors import ContextLengthExceeded, RequestError
from modelhost.logs import get_logger, has_debug
from modelhost.tools.context import CallContext
from modelhost.tools.outcome import ToolOutcome

log = get_logger(__name__)

OpenTurn = Callable[[dict[str, Any]], AbstractAsyncContextManager[AsyncIterator[Chunk]]]
"""Begins one turn of the model with a request's body: the decoded chunks of its answer, the usage on the last one."""

MALFORMED = frozenset({"invalid_arguments", "tool_not_found"})
"""Failures that are the model's own, which it may repair in the next turn."""
MALFORMED_CALL = "malformed_call"
CUTS = 12
"""Attempts to cut what does not fit. Where tokens are counted two are enough; halving needs a few more."""


class ToolSide(Protocol):
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
class Ending:
    """How an answer ends."""

    finish_reason: str
    kind: str | None = None
    message: str | None = None


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
        tools: ToolSide,
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
        self._told = Told()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._malformed_turns = 0
        self._calls: set[asyncio.Task[ToolOutcome]] = set()
        self._settled: list[dict[str, Any]] = []
        self._result_chars: int | None = None
        """As much of each result as the context holds, once that is known."""
        self._prompt_tokens = 0
        """Of the first turn."""
        self._turn: _Turn | None = None
        """The one that is not in ``_settled``."""
        self.usage: dict[str, Any] | None = None
        """Of all turns together."""

    @property
    def transcript(self) -> list[dict[str, Any]]:
        """What the turns added to the conversation: the calls that were made with their results, then what was said.

        There is no call without a result in it, however the answer ended. Of images it has what the text says of them.
        """
        return [
            *room.cut_to(self._settled, self._result_chars),
            {"role": "assistant", "content": self._turn.text if self._turn else ""},
        ]

    async def run(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks of the answer to ``body``, the last of them with the usage and without a choice.

        Closing it cancels the generation and the calls that run.

        Raises:
            ModelhostError: the model's side failed; a failed call is none.
        """
        driver = asyncio.create_task(self._drive(body), name="tool loop")
        try:
            while (chunk := await self._told.next()) is not None:
                yield chunk
        finally:
            driver.cancel()
            await asyncio.wait([driver])
            await self._end_calls()

    async def _drive(self, body: dict[str, Any]) -> None:
        try:
            deadline = asyncio.get_running_loop().time() + self._limits.seconds
            self._context = replace(self._context, deadline=deadline)
            try:
                async with asyncio.timeout_at(deadline) as timeout:
                    ending = await self._turns(body)
            except TimeoutError:
                if not timeout.expired():
                    raise
                await self._end_calls()
                ending = _ended("time_limit", f"The answer took longer than {self._limits.seconds:g} s.")
            if has_debug():
                log.debug("tool_loop_ended", finish_reason=ending.finish_reason, kind=ending.kind)
            await self._told.finish(ending.finish_reason, ending.kind, ending.message, self.usage)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 (raised again where the answer is read)
            await self._told.fail(error)

    async def _turns(self, body: dict[str, Any]) -> Ending:
        messages = list(body["messages"])
        budget = _budget(body)
        is_too_deep = self._context.depth >= self._limits.depth
        spoken: list[dict[str, Any]] | None = None
        for number in range(1, self._limits.turns + 1):
            turn = self._turn = _Turn(may_call=number < self._limits.turns and not is_too_deep)
            written = await self._write(turn, body, messages, spoken, number)
            if written is None:
                return _ended("context_limit", "What the tools returned does not fit into the context of the model.")
            messages, spoken = written, None
            if not turn.collector.calls:
                return Ending(finish_reason=turn.finish_reason or "stop")
            if is_too_deep:
                return _ended("depth_limit", f"The request stands in {self._context.depth} calls of tools already.")
            if not turn.may_call:
                break
            outcomes = await asyncio.gather(*turn.running)
            ending = await self._reason_to_end(turn, outcomes, budget)
            if outcomes and (ending is None or ending.kind != MALFORMED_CALL):
                made = _turn_messages(turn, outcomes)
                if self._sees_images() and any(outcome.images for outcome in outcomes):
                    spoken = [*messages, *made]
                    messages = [*messages, *_with_images(made, outcomes)]
                else:
                    messages = [*messages, *made]
                self._settled += made
                self._turn = None
            if ending is not None:
                return ending
        return _ended("turn_limit", f"The model still wanted tools in turn {self._limits.turns}, the last one allowed.")

    async def _write(
        self, turn: _Turn, body: dict[str, Any], messages: list[Any], spoken: list[Any] | None, number: int
    ) -> list[Any] | None:
        """Let the model write; return the messages that it got, ``None`` if they do not fit, however they are cut."""
        try:
            if await self._write_what_fits(turn, body, messages, number):
                return messages
        except RequestError:
            if spoken is None or turn.has_begun:
                raise
        # The model cannot look at what a tool returned, such as a damaged image: it gets the words about it.
        if spoken is not None and await self._write_what_fits(turn, body, spoken, number):
            return spoken
        return None

    async def _write_what_fits(self, turn: _Turn, body: dict[str, Any], messages: list[Any], number: int) -> bool:
        """Let the model write, with the results of tools cut until they fit; return whether anything of them does."""
        for _ in range(CUTS):
            try:
                await self._let_write(turn, self._body(body, messages, number))
            except ContextLengthExceeded as error:
                if number == 1 or turn.has_begun:
                    raise
                results = messages[len(body["messages"]) :]
                limit = room.shorter(results, self._result_chars, error, self._prompt_tokens + self._tokens())
                if limit is None:
                    return False
                tokens, context = error.details.get("prompt_tokens"), error.details.get("context_length")
                log.debug("tool_results_cut", chars=limit, turn=number, prompt_tokens=tokens, context_length=context)
                self._result_chars = limit
            else:
                return True
        return False

    def _body(self, body: dict[str, Any], messages: list[Any], number: int) -> dict[str, Any]:
        given, budget = len(body["messages"]), _budget(body)
        made: dict[str, Any] = {
            **body,
            "messages": [*messages[:given], *room.cut_to(messages[given:], self._result_chars)],
        }
        if number > 1:
            made["tool_choice"] = "auto"  # what the client demands, it demands of the first turn
        if budget is not None:
            made.pop("max_completion_tokens", None)
            made["max_tokens"] = budget - self._tokens()
        return made

    async def _let_write(self, turn: _Turn, body: dict[str, Any]) -> None:
        """Let the model write; calls begin as soon as they are complete."""
        async with self._open_turn(body) as chunks:
            async for chunk in chunks:
                turn.has_begun = True
                if chunk.get("usage"):
                    self._prompt_tokens = self._prompt_tokens or chunk["usage"].get("prompt_tokens", 0)
                    self.usage = usage.added(self.usage, chunk["usage"])
                for choice in chunk["choices"]:
                    self._begin(turn, turn.collector.add(choice["delta"].pop("tool_calls", None) or ()))
                    turn.finish_reason = choice.get("finish_reason") or turn.finish_reason
                    turn.text += choice["delta"].get("content") or ""
                    turn.reasoning += choice["delta"].get("reasoning_content") or ""
                    await self._told.written(chunk, choice)
        self._begin(turn, turn.collector.end())

    # Calls.

    def _begin(self, turn: _Turn, calls: Sequence[WantedCall]) -> None:
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

    async def _call(self, call: WantedCall) -> ToolOutcome:
        await self._told.event(CALL, call_fields(call))
        try:
            outcome = await self._tools.call(call.name, call.arguments or "{}", self._told_by(call))
        except asyncio.CancelledError:
            self._told.remark(CALL_ENDED, {"id": call.id, "name": call.name})
            raise
        await self._told.event(RESULT, result_fields(call, outcome))
        return outcome

    def _told_by(self, call: WantedCall) -> CallContext:
        context = self._told.in_context(self._context, call.id)
        if self._questions is None:
            return context
        return self._questions.in_context(context, call.id, self._told.event)

    async def _end_calls(self) -> None:
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)

    # Ends.

    async def _reason_to_end(self, turn: _Turn, outcomes: Sequence[ToolOutcome], budget: int | None) -> Ending | None:
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
            return Ending(finish_reason="stop", kind=MALFORMED_CALL, message="The model's call stayed malformed.")
        if budget is not None and self._tokens() >= budget:
            return _ended("token_limit", f"The {budget} tokens are used up.")
        return None

    def _tokens(self) -> int:
        return int((self.usage or {}).get("completion_tokens", 0))


def _budget(body: Mapping[str, Any]) -> int | None:
    """Return how many tokens the model may write in all turns together."""
    return body.get("max_completion_tokens") or body.get("max_tokens")


def _ended(kind: str, message: str) -> Ending:
    return Ending(finish_reason="length", kind=kind, message=message)


def _turn_messages(turn: _Turn, outcomes: Sequence[ToolOutcome]) -> list[dict[str, Any]]:
    """Return the turn as the model will see it: what it wrote, and what those of its calls gave that were made."""
    calls = turn.collector.calls[: len(outcomes)]
    asked = {"role": "assistant", "content": turn.text or None, "tool_calls": [call.message() for call in calls]}
    if turn.reasoning:
        # Templates show it within the loop: without it the next turn's prompt would not begin as this one ended.
        asked["reasoning_content"] = turn.reasoning
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": outcome.text}
        for call, outcome in zip(calls, outcomes, strict=True)
    ]
    return [asked, *results]


def _with_images(made: Sequence[dict[str, Any]], outcomes: Sequence[ToolOutcome]) -> list[dict[str, Any]]:
    """Return the messages of a turn with the images of its results.

    They stand in the messages of the tools: one by the user after those would be the beginning of something new to many
    templates, which then leave out what the model thought before.
    """
    asked, *results = made
    return [
        asked,
        *({**result, "content": images.told_of(outcome)} for result, outcome in zip(results, outcomes, strict=True)),
    ]


def _key(call: WantedCall) -> tuple[str, str]:
    """Return what calls that are the same have in common, however their arguments are written."""
    return call.name, json.dumps(call.decoded(), sort_keys=True)

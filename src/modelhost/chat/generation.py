"""One answer from a model: the turn between a checked request and the blocks that the client gets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Any, Protocol

from modelhost.chat import fanout
from modelhost.chat.answer import Answer
from modelhost.chat.forced_call import ForcedCall
from modelhost.chat.legacy_logprobs import LegacyLogprobs
from modelhost.chat.relay import DONE_EVENT, Relay, Report, encode_event
from modelhost.engines.base import Task
from modelhost.errors import ModelhostError

OBJECTS = {"chat": "chat.completion", "completions": "text_completion"}
STRUCTURED = frozenset({"tools", "response_format", "json_schema", "grammar"})  # what makes an engine parse the output
Rewrite = Callable[[dict[str, Any]], dict[str, Any]]


class Blocks(Protocol):
    """An answer as it is read: blocks of whole events, ``b""`` at the end."""

    async def read(self) -> bytes: ...


class ModelSide(Protocol):
    """What a turn needs of a worker."""

    def stream(self, task: Task, body: dict[str, Any]) -> AbstractAsyncContextManager[Blocks]: ...

    def refusal(self, status: int, payload: Any) -> ModelhostError: ...


class Generation:
    """A request that is ready to be sent: ``body`` is checked, in the engine's dialect, and asks for a stream.

    With ``writes_call``, the engine will write the JSON of a tool call as its text (:mod:`modelhost.chat.forced_call`).
    """

    def __init__(self, task: Task, body: dict[str, Any], *, include_usage: bool, writes_call: bool = False) -> None:
        self.task = task
        self.report = Report()
        self._include_usage = include_usage
        self._parts = fanout.split(body)
        self._choices_per_prompt = body.get("n") or 1
        self._may_fail_to_parse = task == "chat" and not STRUCTURED.isdisjoint(body)
        self._new_rewrite: Callable[[], Rewrite] | None = None  # each choice has one of its own
        if writes_call:
            self._new_rewrite = lambda: ForcedCall().rewrite
        elif task == "completions" and body.get("logprobs") is not None:
            self._new_rewrite = lambda: LegacyLogprobs().rewrite

    @asynccontextmanager
    async def stream(self, model: ModelSide) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the blocks of the answer, the end marker included, once the engine has accepted the request."""
        if len(self._parts) == 1 and self._new_rewrite is None:
            async with model.stream(self.task, self._parts[0]) as blocks:
                relayed = self._relayed(model, blocks)
                async with aclosing(relayed):
                    yield relayed
            return
        chunks = self._chunks(model)
        async with aclosing(chunks):
            yield self._encoded(chunks)

    @asynccontextmanager
    async def chunks(self, model: ModelSide) -> AsyncIterator[fanout.Chunks]:
        """Yield the decoded chunks of the answer; the last one has the usage and no choice."""
        chunks = self._chunks(model)
        async with aclosing(chunks):
            yield chunks

    async def whole(self, model: ModelSide) -> dict[str, Any]:
        """Return the answer as one object."""
        answer = Answer(OBJECTS[self.task])
        chunks = self._chunks(model)
        async with aclosing(chunks):
            async for chunk in chunks:
                answer.add(chunk)
        return {**answer.whole(), "usage": self.report.usage}

    async def _relayed(self, model: ModelSide, blocks: Blocks) -> AsyncGenerator[bytes, None]:
        relay = self._relay(model, self.report, include_usage=self._include_usage)
        while block := await blocks.read():
            if passed := relay.pass_on(block):
                yield passed
            if relay.failure is not None:
                raise relay.failure

    async def _chunks(self, model: ModelSide) -> fanout.Chunks:
        """Yield the decoded chunks of all parts and, at the end, the usage of them all on an empty chunk."""
        reports = [Report() for _ in self._parts]
        sources: list[Callable[[], fanout.Chunks]] = [
            partial(self._part, model, body, report) for body, report in zip(self._parts, reports, strict=True)
        ]
        merged = fanout.merge(sources) if len(sources) > 1 else sources[0]()
        chunk: dict[str, Any] = {}
        async with aclosing(merged):
            async for chunk in merged:
                yield chunk
        usages = [report.usage for report in reports if report.usage is not None]
        if len(usages) == 1:
            self.report.usage = usages[0]
        elif usages:
            self.report.usage = fanout.total(usages, choices_per_prompt=self._choices_per_prompt)
        yield {**chunk, "choices": [], "usage": self.report.usage}

    async def _part(self, model: ModelSide, body: dict[str, Any], report: Report) -> fanout.Chunks:
        relay = self._relay(model, report, include_usage=False)
        rewrite = self._new_rewrite() if self._new_rewrite else None
        async with model.stream(self.task, body) as blocks:
            while block := await blocks.read():
                for chunk in relay.decoded(block):
                    yield rewrite(chunk) if rewrite else chunk
                self._note_times(report)
                if relay.failure is not None:
                    raise relay.failure

    def _relay(self, model: ModelSide, report: Report, *, include_usage: bool) -> Relay:
        return Relay(
            report=report,
            include_usage=include_usage,
            refusal=model.refusal,
            may_fail_to_parse=self._may_fail_to_parse,
        )

    def _note_times(self, part: Report) -> None:
        if self.report.first_at is None:
            self.report.first_at = part.first_at
        self.report.last_at = part.last_at

    async def _encoded(self, chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            if chunk["choices"] or self._include_usage:
                yield encode_event(chunk)
        yield DONE_EVENT

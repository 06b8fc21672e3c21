"""One answer of a model: sends a prepared request and yields the pieces, or the relayed bytes, of its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Any, Self

from msgspec.structs import replace

from modelhost.chat import fanout
from modelhost.chat.completions import Echo, LegacyLogprobsRewriter, with_one_envelope, without_alternatives
from modelhost.chat.relay import Relay, Report
from modelhost.chat.stops import stopped_at
from modelhost.chat.usage import RunningUsageRewriter, UsageReader
from modelhost.exchange.events import NO_ENVELOPE, Event, Extra, Piece, PieceStream, Usage
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.sse import blocks_of_answer
from modelhost.exchange.tasks import Task
from modelhost.workers.wire import Body as Blocks
from modelhost.workers.worker import Worker

STRUCTURED = frozenset(
    {"tools", "response_format", "json_schema", "grammar"}
)  # fields for which an engine parses the output
MOST_AT_ONCE = 64  # for a model with an unknown number of slots: all choices of one prompt
Rewrite = Callable[[Piece], Piece]
NewRewrite = Callable[[], Rewrite]
"""Each choice has its own."""


class Generation:
    """A request that is ready to be sent: ``body`` is checked, in the engine's dialect, and requests a stream."""

    def __init__(  # noqa: PLR0913 (all are facts of one request)
        self,
        task: Task,
        body: dict[str, Any],
        *,
        name: str | None = None,
        top_logprobs: int | None = None,
        rewrites: Sequence[NewRewrite] = (),
        usage_in: UsageReader | None = None,
        echo: Echo | None = None,
        stops: Sequence[str] = (),
        keeps_usage: bool = True,
    ) -> None:
        """Take the request.

        Args:
            name: what the answer calls the model, if not its main name.
            top_logprobs: how many alternatives each token gets; ``None``: no log probabilities.
            rewrites: convert what the engine writes, such as the text of a call into a call.
            usage_in: reads the running usage, if each piece is to have it.
            echo: puts the prompt before each answer.
            stops: stop sequences that the host finds itself; the request has none, and a running usage.
            keeps_usage: whether the client gets the running usage.
        """
        self.task = task
        self.at_once = MOST_AT_ONCE
        """How many of its choices and prompts are sent to the model at a time."""
        self.report = Report()
        self.written: list[list[bytes]] | None = None
        """The events of each stream, if they are kept."""
        self._reports: Sequence[Report] = (self.report,)
        self._parts = fanout.split(body)
        self._choices_per_prompt = body.get("n") or 1
        self._may_fail_to_parse = task == "chat" and not STRUCTURED.isdisjoint(body)
        self._is_streamed = body.get("stream") is True
        self._is_counting = usage_in is not None
        self._echo = echo
        self._stops = stops
        self._keeps_usage = keeps_usage
        counting: list[NewRewrite] = [] if usage_in is None else [lambda: RunningUsageRewriter(usage_in).rewrite]
        self._new_rewrites = [*counting, *rewrites]
        if task == "infill":
            self._new_rewrites.append(lambda: with_one_envelope(name or body["model"]))
        elif name is not None:
            self._new_rewrites.append(lambda: with_model_name(name))
        if task != "chat" and top_logprobs is not None:
            self._new_rewrites.append(lambda: LegacyLogprobsRewriter(top_logprobs).rewrite)
        elif top_logprobs == 0:
            self._new_rewrites.append(lambda: without_alternatives)

    @property
    def can_be_relayed(self) -> bool:
        """Whether the answer is a single stream that the client gets unchanged."""
        return len(self._parts) == 1 and self._is_streamed and not self._new_rewrites and self._echo is None

    @property
    def ends(self) -> list[bytes]:
        """The last events of the choices, as far as they have ended."""
        return [report.end for report in self._reports if report.end]

    @property
    def written_tokens(self) -> int:
        """About how many tokens the model has generated.

        Before the usage has come, each event counts as a token, except the first of a chat, which names the role; so do
        the finish and the end marker of an answer that ends without usage.
        """
        opening = 1 if self.task == "chat" else 0
        return sum(
            max(0, report.events - opening) if report.usage is None else report.usage.get("completion_tokens") or 0
            for report in self._reports
        )

    def keep_written(self) -> None:
        """Keep what the model writes in :attr:`written`."""
        self.written = []

    def stream(self, model: Worker) -> AbstractAsyncContextManager[Blocks]:
        """Send the request, of which there is one, and yield the answer as the engine writes it."""
        return model.stream(self.task, self._parts[0])

    def relayed(self, model: Worker, blocks: Blocks, *, include_usage: bool) -> AsyncIterator[bytes]:
        """Return ``blocks`` as they are relayed: of complete events, with the end marker."""
        return _RelayedBlocks(self._kept(blocks), self._relay(model, self.report, include_usage=include_usage))

    def pieces(self, model: Worker) -> PieceStream:
        """Yield the pieces of all parts of the answer, and the usage at the end; to be closed."""
        self._reports = reports = [Report() for _ in self._parts]
        if len(reports) == 1 and self._echo is None and not self._stops:
            rewrites = [new() for new in self._new_rewrites]
            return self._written(model, self._parts[0], reports[0], rewrites, is_whole=True)
        return self._merged(model, reports)

    async def _merged(self, model: Worker, reports: Sequence[Report]) -> PieceStream:
        part = self._part if self._echo is None else partial(self._echoed, self._echo)
        sources: list[Callable[[], PieceStream]] = [
            partial(part, model, body, report) for body, report in zip(self._parts, reports, strict=True)
        ]
        merged = fanout.merge(sources, at_once=self.at_once) if len(sources) > 1 else sources[0]()
        if self._stops:
            merged = stopped_at(self._stops, merged, reports[0], keeps_usage=self._keeps_usage)
        last = Event(envelope=NO_ENVELOPE)
        async with aclosing(merged):
            async for piece in merged:
                last = piece[0]
                yield piece
        yield self._usage_piece(last, reports)

    def _usage_piece(self, last: Event, reports: Sequence[Report]) -> Piece:
        """Return the last piece of the answer, after ``last``; note the usage of all parts."""
        usages = [report.usage for report in reports if report.usage is not None]
        if len(usages) == 1:
            self.report.usage = usages[0]
        elif usages:
            self.report.usage = fanout.total(usages, choices_per_prompt=self._choices_per_prompt)
        besides = {**(last.extra.chunk if last.extra is not None else NOTHING), **reports[-1].besides}
        extra = Extra(chunk=besides) if besides else None
        return (Usage(envelope=last.envelope, usage=self.report.usage, extra=extra),)

    async def _echoed(self, echo: Echo, model: Worker, body: dict[str, Any], report: Report) -> PieceStream:
        rewrites = [new() for new in self._new_rewrites]
        written = self._written(model, body, report, ())
        async with aclosing(echo.before(written, model, body, report)) as pieces:
            async for piece in pieces:
                yield _rewritten(piece, rewrites)

    def _part(self, model: Worker, body: dict[str, Any], report: Report) -> PieceStream:
        return self._written(model, body, report, [new() for new in self._new_rewrites])

    async def _written(
        self,
        model: Worker,
        body: dict[str, Any],
        report: Report,
        rewrites: Sequence[Rewrite],
        *,
        is_whole: bool = False,
    ) -> PieceStream:
        """Yield the pieces of one part; if it is the whole answer, also the usage at the end."""
        relay = self._relay(model, report, include_usage=False)
        last = Event(envelope=NO_ENVELOPE)
        if not self._is_streamed:
            answer = blocks_of_answer(await model.call(self.task, body))
            if self.written is not None:
                self.written.append([answer])
            for piece in relay.read(answer):
                rewritten = _rewritten(piece, rewrites)
                last = rewritten[0]
                yield rewritten
            self._note_times(report)
            if relay.failure is not None:
                raise relay.failure
        else:
            async with model.stream(self.task, body) as received:
                blocks = self._kept(received)
                while block := await blocks.read():
                    for piece in relay.read(block):
                        rewritten = _rewritten(piece, rewrites) if rewrites else piece
                        last = rewritten[0]
                        yield rewritten
                    self._note_times(report)
                    if relay.failure is not None:
                        raise relay.failure
                relay.end()
        if is_whole:
            yield self._usage_piece(last, (report,))

    def _kept(self, blocks: Blocks) -> Blocks:
        if self.written is None:
            return blocks
        self.written.append([])
        return _KeptBlocks(blocks, self.written[-1])

    def _relay(self, model: Worker, report: Report, *, include_usage: bool) -> Relay:
        return Relay(
            report=report,
            include_usage=include_usage,
            refusal=model.refusal,
            may_fail_to_parse=self._may_fail_to_parse,
            is_counting=self._is_counting,
        )

    def _note_times(self, part: Report) -> None:
        if self.report.first_at is None:
            self.report.first_at = part.first_at
        self.report.last_at = part.last_at


class _RelayedBlocks:
    """The blocks that ``relay`` passes on. An object, since it costs each token less than an asynchronous generator."""

    def __init__(self, blocks: Blocks, relay: Relay) -> None:
        self._blocks = blocks
        self._relay = relay

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        relay = self._relay
        while relay.failure is None:
            if not (block := await self._blocks.read()):
                relay.end()
                raise StopAsyncIteration
            if passed := relay.pass_on(block):
                return passed
        raise relay.failure


class _KeptBlocks:
    """Reads ``blocks`` and keeps them in a list."""

    def __init__(self, blocks: Blocks, kept: list[bytes]) -> None:
        self._blocks = blocks
        self._kept = kept

    async def read(self) -> bytes:
        block = await self._blocks.read()
        self._kept.append(block)
        return block


def _rewritten(piece: Piece, rewrites: Sequence[Rewrite]) -> Piece:
    for rewrite in rewrites:
        piece = rewrite(piece)
    return piece


def with_model_name(name: str) -> Rewrite:
    """Return a rewrite that has the answer call its model ``name``."""
    received = renamed = NO_ENVELOPE

    def rewrite(piece: Piece) -> Piece:
        nonlocal received, renamed
        if piece[0].envelope is not received:
            received = piece[0].envelope
            renamed = replace(received, model=name)
        return tuple(replace(event, envelope=renamed) for event in piece)

    return rewrite

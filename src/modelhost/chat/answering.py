"""Answering requests: one turn of a model, or the turns of a tool loop, in a session or by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from modelhost.chat.defaults import with_defaults
from modelhost.chat.notes import Notes
from modelhost.chat.parsing.parse import parsed
from modelhost.chat.schemas import with_plain_schemas
from modelhost.chat.sessions import SessionTurn
from modelhost.chat.structured_output import checked, output_schema_of, retried
from modelhost.chat.task_answers import check_dimensions, with_token_strings
from modelhost.chat.tools import context_budget, host_tools
from modelhost.chat.tools.context_budget import tools_by_server, with_tool_tokens
from modelhost.chat.tools.host_tools import note_missing, waiting, with_missing_servers
from modelhost.chat.tools.loop import LoopLimits, ToolLoop
from modelhost.chat.tools.mcp_context import with_context
from modelhost.chat.tools.questions import Questions
from modelhost.chat.tools.sampling import sampling_answer, sampling_request
from modelhost.chat.turn import adapted, check_can, turn_of
from modelhost.chat.waits import with_wait_events
from modelhost.config.settings import Settings
from modelhost.errors import ContextLengthExceeded, ModelhostError, ToolNotFound
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces, PieceStream, Relayed
from modelhost.exchange.requests import (
    AnyRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingsRequest,
    TokenizeRequest,
)
from modelhost.exchange.tasks import Task
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.logs import get_logger
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.scheduler import OnQueued
from modelhost.state.store import StateStore
from modelhost.tools.context import CallContext
from modelhost.tools.sampling import SamplingAnswer, SamplingRequest
from modelhost.tools.toolbox import Toolbox
from modelhost.workers.depth import DEPTH
from modelhost.workers.worker import Worker

if TYPE_CHECKING:  # the MCP SDK behind it takes half a second, and not every host has tools
    from modelhost.tools.patience import Starting

log = get_logger(__name__)

ChatOrCompletion = ChatRequest | CompletionRequest
OpenedAnswer = Pieces | Relayed


class _Way(Struct, frozen=True, kw_only=True):
    """What is the same for all that is done about one request."""

    caller: Caller
    on_queued: OnQueued | None
    may_relay: bool = False
    may_ask: bool = True
    """Whether somebody reads the answer as it comes, who can be asked."""
    may_wait: bool = True
    """Whether the servers of tools that start may still be waited for."""
    turn: SessionTurn | None = None


class Answering:
    """Answers with the models, the tools and the sessions of a host."""

    def __init__(
        self, settings: Settings, collection: Callable[[], ModelCollection], toolbox: Toolbox, state: StateStore
    ) -> None:
        self._settings = settings
        self._collection = collection
        self._toolbox = toolbox
        self._state = state
        self.questions = Questions(settings.question_timeout)
        """What somebody is asked while tools run."""

    def open(
        self,
        request: ChatOrCompletion,
        caller: Caller = NOBODY,
        on_queued: OnQueued | None = None,
        *,
        may_relay: bool = False,
    ) -> AbstractAsyncContextManager[OpenedAnswer]:
        """Answer ``request`` piece by piece; leaving the context cancels the work.

        ``on_queued`` is told the place in the queue if there is a wait. With ``may_relay``, an answer in which nothing
        is to be changed comes as bytes. In a session, the messages go on with a stored conversation, and the exchange
        is stored before the last piece comes (:mod:`modelhost.chat.sessions`).

        Raises:
            ModelhostError: before the first piece, or out of the iterator in the middle of the answer.
        """
        return self._opened(request, _Way(caller=caller, on_queued=on_queued, may_relay=may_relay))

    async def whole(
        self, request: ChatOrCompletion, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> WholeAnswer:
        """Answer ``request`` at once; sessions and errors are as :meth:`open` has them."""
        answer = WholeAnswer()
        # Nobody can be asked: the answer has no stream to ask on.
        way = _Way(caller=caller, on_queued=on_queued, may_ask=False)
        async with self._opened(request, way) as opened:
            async for piece in _pieces_of(opened):
                answer.add(piece)
        return answer

    async def call(
        self, task: Task, request: AnyRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> dict[str, Any]:
        """Do a task in which nothing is written; return the answer as JSON. Errors are as :meth:`open` has them."""
        DEPTH.set(caller.depth)
        model = self._collection().find(request.model)
        prepared, engine = adapted(model, task, request), model.engine
        async with self._lease(model, on_queued) as worker:
            if model.engine is not engine:
                prepared = adapted(model, task, request)
            check_can(worker, task, request)
            answer: dict[str, Any] = await worker.call(task, prepared)
        model.meters.count_usage(answer.get("usage"))
        if isinstance(request, TokenizeRequest) and request.token_strings:
            return with_token_strings(answer, with_pieces=bool(request.extra.get("with_pieces")))
        if isinstance(request, EmbeddingsRequest) and request.dimensions is not None:
            check_dimensions(model.name, answer, request.dimensions)
        return answer

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Write for an MCP server, with the model that its hints name, else with the active one."""
        asked = parsed("chat", sampling_request(request, self._collection().models))
        assert isinstance(asked, ChatRequest)
        return sampling_answer(await self.whole(asked))

    def _opened(self, request: ChatOrCompletion, way: _Way) -> AbstractAsyncContextManager[OpenedAnswer]:
        if request.include_progress and way.may_ask:
            return self._with_waits(replace(request, include_progress=False), way)
        if isinstance(request, ChatRequest) and request.session_id is not None:
            return self._in_its_session(request, request.session_id, way)
        return self._open(request, way)

    @asynccontextmanager
    async def _with_waits(self, request: ChatOrCompletion, way: _Way) -> AsyncIterator[OpenedAnswer]:
        """Tell what a request waits for, whose client wants to know."""
        collection = self._collection()

        @asynccontextmanager
        async def begin(on_queued: OnQueued) -> AsyncIterator[Pieces]:
            own = way.on_queued

            def queued(position: int) -> None:
                on_queued(position)
                if own is not None:
                    own(position)

            async with self._opened(request, replace(way, on_queued=queued, may_relay=False)) as opened:
                yield _pieces_of(opened)

        model, is_chat = collection.find(request.model), isinstance(request, ChatRequest)
        async with aclosing(with_wait_events(begin, model, collection.events, is_chat=is_chat)) as pieces:
            yield pieces

    @asynccontextmanager
    async def _in_its_session(self, request: ChatRequest, session_id: str, way: _Way) -> AsyncIterator[OpenedAnswer]:
        """Hold the session of a request as long as it is answered."""
        model = self._collection().find(request.model)
        async with self._state.sessions.hold(session_id) as held:
            turn = SessionTurn(held, request, model=model.name)
            async with (
                self._open(turn.request, replace(way, turn=turn)) as opened,
                aclosing(turn.stored(_pieces_of(opened))) as pieces,
            ):
                yield pieces

    @asynccontextmanager
    async def _open(self, request: ChatOrCompletion, way: _Way) -> AsyncIterator[OpenedAnswer]:
        DEPTH.set(way.caller.depth)
        model = self._collection().find(request.model)
        if way.may_wait and (starting := self._starting(request)) is not None:
            begin = partial(self._open, request, replace(way, may_wait=False, may_relay=False))
            async with aclosing(self._later(model, starting, begin, way)) as pieces:
                yield pieces
            return
        shape = output_schema_of(request)
        request = with_plain_schemas(request)
        given = host_tools.NONE
        if isinstance(request, ChatRequest):
            if request.mcp is not None:
                request = await with_context(request, self._toolbox.reading)
            given = host_tools.granted_tools(request, self._toolbox)
            note_missing(model.name, given.missing)
            if given.tools:
                loop = self._loop(model, request, way)
                asked = host_tools.with_tools(request, given.tools)
                async with aclosing(with_missing_servers(loop.run(asked), given.missing)) as pieces:
                    yield pieces
                return
            if model.engine.has_own_tools:
                request = host_tools.without_tools(request, self._toolbox)
        if shape is not None and not way.may_ask and _may_differ(model, request):
            attempt = partial(self._one_turn, model, request, way)
            async with aclosing(
                with_missing_servers(retried(attempt, shape, model=model.name), given.missing)
            ) as pieces:
                yield pieces
            return
        turn_with = turn_of(model, request, self._lease(model, way.on_queued), Notes(model.name))
        async with turn_with as (generation, worker):
            # The one way on which nothing of an answer is read.
            is_left = way.turn is None and shape is None and not given.missing
            if way.may_relay and is_left and generation.can_be_relayed:
                async with generation.relayed(worker, include_usage=request.include_usage) as blocks:
                    yield Relayed(blocks)
                return
            async with aclosing(generation.pieces(worker)) as written:
                judged = written if shape is None else checked(written, shape)
                async with aclosing(with_missing_servers(judged, given.missing)) as pieces:
                    yield pieces

    @asynccontextmanager
    async def _one_turn(self, model: HostedModel, request: ChatOrCompletion, way: _Way) -> AsyncIterator[PieceStream]:
        turn_with = turn_of(model, request, self._lease(model, way.on_queued), Notes(model.name))
        async with turn_with as (generation, worker), aclosing(generation.pieces(worker)) as pieces:
            yield pieces

    async def _later(
        self,
        model: HostedModel,
        starting: Starting,
        begin: Callable[[], AbstractAsyncContextManager[OpenedAnswer]],
        way: _Way,
    ) -> PieceStream:
        """Yield the answer that ``begin`` begins, once the servers of tools have had their time; say so first."""
        if way.may_ask:
            yield waiting(model.name, starting)
        log.info("waiting_for_tools", model=model.name, servers=starting.servers, seconds=round(starting.seconds, 1))
        await self._toolbox.hub.wait_for(starting)
        async with begin() as opened:
            async for piece in _pieces_of(opened):
                yield piece

    def _starting(self, request: ChatOrCompletion) -> Starting | None:
        """Return the servers that a request is to wait for."""
        if not isinstance(request, ChatRequest) or self._settings.wait_for_tools == "never" or self._toolbox.is_whole:
            return None
        selection = host_tools.selection_for(request, self._toolbox)
        return None if selection is None else self._toolbox.hub.starting(selection)

    def _loop(self, model: HostedModel, request: ChatRequest, way: _Way) -> ToolLoop:
        options, notes, depth = request.mcp, Notes(model.name), way.caller.depth

        @asynccontextmanager
        async def open_turn(of_turn: ChatRequest) -> AsyncIterator[Pieces]:
            turn_with = turn_of(model, of_turn, self._lease(model, way.on_queued), notes)
            try:
                async with turn_with as (generation, worker), aclosing(generation.pieces(worker)) as pieces:
                    yield pieces
            except ContextLengthExceeded as error:
                if len(of_turn.messages) > len(request.messages):
                    raise  # because of what tools returned
                raise await self._with_tools_named(error, model, of_turn, way.caller) from None

        most = self._settings.max_tool_turns
        wanted = options.max_turns if options and options.max_turns else most
        limits = LoopLimits(
            turns=min(wanted, most), seconds=self._settings.tool_loop_timeout, depth=self._settings.max_tool_depth
        )
        context = CallContext(approval=options.approval if options else None, depth=depth)
        questions = self.questions if way.may_ask else None
        loop = ToolLoop(open_turn, self._toolbox.hub, limits, context, questions, lambda: bool(model.sees_images))
        if way.turn is not None:
            way.turn.follow(loop)
        return loop

    async def _with_tools_named(
        self, error: ContextLengthExceeded, model: HostedModel, request: ChatRequest, caller: Caller
    ) -> ContextLengthExceeded:
        """Return ``error`` with what the tools take of the context, and which servers to leave out."""
        text = context_budget.text_of(request.messages)
        try:
            tools = tools_by_server(request.tools or (), lambda name: self._toolbox.hub.tool(name).server)
        except ToolNotFound:
            return error  # its server went meanwhile
        message_tokens: int | None = None
        with suppress(ModelhostError):  # not every engine counts for us
            counted = await self.call("tokenize", TokenizeRequest(model=model.name, content=text), caller)
            message_tokens = len(counted["tokens"])
        return with_tool_tokens(error, model.name, tools, message_chars=len(text), message_tokens=message_tokens)

    def _lease(self, model: HostedModel, on_queued: OnQueued | None) -> AbstractAsyncContextManager[Worker]:
        return self._collection().lease(model, on_queued)


def _may_differ(model: HostedModel, request: ChatOrCompletion) -> bool:
    """Whether the same request may be answered in another way the next time."""
    sampling = with_defaults(request, model.defaults).sampling
    return sampling.seed is None and sampling.temperature != 0


def _pieces_of(opened: OpenedAnswer) -> Pieces:
    assert not isinstance(opened, Relayed)  # nobody said that it may be
    return opened

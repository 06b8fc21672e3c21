"""Answers requests: with one turn of a model or a tool loop, in a session or without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from modelhost import lazy
from modelhost.chat.addresses import Addresses, has_addresses
from modelhost.chat.defaults import with_defaults
from modelhost.chat.images import as_shown, check_images, name_place
from modelhost.chat.imaging.painting import Painting
from modelhost.chat.media.sounds import SoundCheck
from modelhost.chat.notes import Notes
from modelhost.chat.parsing.parse import parsed
from modelhost.chat.schemas import with_plain_schemas
from modelhost.chat.sessions import SessionTurn
from modelhost.chat.speech import Speaking
from modelhost.chat.spoken.answers import SpeakingAnswers
from modelhost.chat.spoken.transcripts import has_audio
from modelhost.chat.structured_output import OutputSchema, checked, output_schema_of, retried
from modelhost.chat.task_answers import check_dimensions, with_token_strings
from modelhost.chat.tools import context_budget, host_tools
from modelhost.chat.tools.answer_calls import ToolRunner, server_of
from modelhost.chat.tools.context_budget import tools_by_server, with_tool_tokens
from modelhost.chat.tools.host_tools import GrantedTools, first_events, note_missing, waiting_piece, with_first_events
from modelhost.chat.tools.loop import LoopLimits, ToolLoop
from modelhost.chat.tools.mcp_context import with_context
from modelhost.chat.tools.questions import Questions
from modelhost.chat.tools.result_media import Modalities
from modelhost.chat.tools.sampling import sampling_answer, sampling_request
from modelhost.chat.transcription import Transcribing
from modelhost.chat.turn import OfLoop, PiecesOfTurn, adapted, check_can, turn_of
from modelhost.chat.turn_spans import note_usage, task_span
from modelhost.chat.waits import with_wait_events
from modelhost.config.settings import Settings
from modelhost.errors import ContextLengthExceeded, FetchRefused, InvalidRequest, ModelhostError, RequestError
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import HostEvent, Pieces, PieceStream, Relayed
from modelhost.exchange.media_kinds import AUDIO, IMAGE
from modelhost.exchange.requests import (
    AnyRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingsRequest,
    RemoteMcpServer,
    TokenizeRequest,
)
from modelhost.exchange.tasks import Task
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.logs import get_logger
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.lease import OnQueued
from modelhost.monitor import measure
from modelhost.state.store import StateStore
from modelhost.tools.callbacks import CallContext, SamplingAnswer, SamplingRequest
from modelhost.tools.toolbox import Toolbox
from modelhost.workers.call_depth import CALL_DEPTH
from modelhost.workers.worker import Worker

if TYPE_CHECKING:  # the MCP SDK behind it takes half a second, and not every host has tools
    from modelhost.tools.failures import StartingServers
    from modelhost.tools.hub import ToolHub

log = get_logger(__name__)

ChatOrCompletion = ChatRequest | CompletionRequest
OpenedAnswer = Pieces | Relayed


class _Context(Struct, frozen=True, kw_only=True):
    """The context of one request."""

    caller: Caller
    on_queued: OnQueued | None
    may_relay: bool = False
    is_streamed: bool = True
    """Whether the client reads the answer as it comes, and can answer questions."""
    may_wait: bool = True
    """Whether to wait for MCP servers that are starting."""
    turn: SessionTurn | None = None
    own_servers: ToolHub | None = None
    """Those that the request names by their addresses, connected."""


COUNTED: Final = frozenset({IMAGE, AUDIO})
"""The kinds of media that engines count."""


class Answering:
    """Answers requests with the models, the tools and the sessions of a host."""

    def __init__(
        self, settings: Settings, collection: Callable[[], ModelCollection], toolbox: Toolbox, state: StateStore
    ) -> None:
        self._settings = settings
        self._collection = collection
        self._toolbox = toolbox
        self._state = state
        self._addresses = Addresses(settings)
        self.questions = Questions(settings.question_timeout)
        """The open questions of tool calls."""
        self.speaking = Speaking(collection)
        self.transcribing = Transcribing(collection, self.whole)
        self.painting = Painting(collection)
        self._as_audio = SpeakingAnswers(self.speaking, settings.chat_speech_model)

    def open(
        self,
        request: ChatOrCompletion,
        caller: Caller = NOBODY,
        on_queued: OnQueued | None = None,
        *,
        may_relay: bool = False,
        is_streamed: bool = True,
    ) -> AbstractAsyncContextManager[OpenedAnswer]:
        """Answer ``request`` piece by piece; leaving the context cancels the generation.

        ``on_queued`` gets the position in the queue, if the request waits. With ``may_relay``, an answer that needs no
        changes is relayed as bytes. Without ``is_streamed``, the client gets the answer when it is complete: it gets
        no questions, and an answer that violates its schema is generated again. In a session, the messages
        continue the stored conversation, and the exchange is stored before the last piece
        (:mod:`modelhost.chat.sessions`).

        Raises:
            ModelhostError: before the first piece, or in the middle of the answer.
        """
        context = _Context(caller=caller, on_queued=on_queued, may_relay=may_relay, is_streamed=is_streamed)
        return self._opened(request, context)

    async def whole(
        self, request: ChatOrCompletion, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> WholeAnswer:
        """Answer ``request`` completely; sessions and errors as in :meth:`open`."""
        answer = WholeAnswer()
        async with self.open(request, caller, on_queued, is_streamed=False) as opened:
            async for piece in _pieces_of(opened):
                answer.add(piece)
        return answer

    async def call(
        self, task: Task, request: AnyRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> dict[str, Any]:
        """Run a task that generates nothing; return the answer as JSON. Errors as in :meth:`open`."""
        CALL_DEPTH.set(caller.depth)
        model = self._collection().find(request.model)
        if isinstance(request, TokenizeRequest) and request.chat is not None:
            request = replace(request, chat=await self._addresses.with_contents(request.chat, model))
        prepared, engine = adapted(model, task, request), model.engine
        async with self._lease(model, on_queued) as worker:
            if model.engine is not engine:
                prepared = adapted(model, task, request)
            check_can(worker, task)
            if isinstance(request, TokenizeRequest) and request.chat is not None:
                shown = await _shown(worker, request.chat)
                if shown is not request.chat:
                    request = replace(request, chat=shown)
                    prepared = adapted(model, task, request)
            with task_span(model, task) as span, _naming_places(request):
                answer: dict[str, Any] = await worker.call(task, prepared)
                note_usage(span, answer.get("usage"))
        model.meters.count_usage(answer.get("usage"))
        measure.add_usage(model.name, answer.get("usage"))
        if isinstance(request, TokenizeRequest) and request.token_strings:
            return with_token_strings(answer, with_pieces=bool(request.extra.get("with_pieces")))
        if isinstance(request, EmbeddingsRequest) and request.dimensions is not None:
            check_dimensions(model.name, answer, request.dimensions)
        return answer

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Answer a sampling request of an MCP server, with a model that its hints name, or the active one."""
        body = parsed("chat", sampling_request(request, self._collection().models))
        assert isinstance(body, ChatRequest)
        return sampling_answer(await self.whole(body))

    def with_injected_tools(self, request: ChatRequest) -> ChatRequest:
        """Return ``request`` with the tools that the host adds by itself; one that selects tools stays as it is."""
        if request.mcp is not None:
            return request
        calls_tools = self._collection().find(request.model).calls_tools
        given = host_tools.granted_tools(request, self._toolbox, calls_tools=calls_tools)
        return host_tools.with_tools(request, given.tools) if given.tools else request

    def _opened(self, request: ChatOrCompletion, context: _Context) -> AbstractAsyncContextManager[OpenedAnswer]:
        if isinstance(request, ChatRequest) and (request.audio is not None or has_audio(request.messages)):
            return self._with_audio(self._as_audio.with_transcripts(request), context)
        if isinstance(request, ChatRequest) and has_addresses(request.messages):
            return self._with_contents(request, context)
        if request.include_progress and context.is_streamed:
            return self._with_waits(replace(request, include_progress=False), context)
        if isinstance(request, ChatRequest) and request.session_id is not None:
            return self._in_its_session(request, request.session_id, context)
        return self._open(request, context)

    def _with_audio(self, request: ChatRequest, context: _Context) -> AbstractAsyncContextManager[OpenedAnswer]:
        """Answer a request whose answer is to be spoken, or which names audio of earlier ones."""
        if request.audio is None:
            return self._opened(request, context)
        opened = self._read(replace(request, audio=None), replace(context, may_relay=False))
        return self._as_audio.open(opened, request.audio, context.caller, is_streamed=context.is_streamed)

    @asynccontextmanager
    async def _read(self, request: ChatRequest, context: _Context) -> AsyncIterator[Pieces]:
        async with self._opened(request, context) as opened:
            yield _pieces_of(opened)

    @asynccontextmanager
    async def _with_contents(self, request: ChatRequest, context: _Context) -> AsyncIterator[OpenedAnswer]:
        """Answer a request that has addresses, with what is there."""
        model = self._collection().find(request.model)
        async with self._opened(await self._addresses.with_contents(request, model), context) as opened:
            yield opened

    @asynccontextmanager
    async def _with_waits(self, request: ChatOrCompletion, context: _Context) -> AsyncIterator[OpenedAnswer]:
        """Answer with wait events, as the request specifies."""
        collection = self._collection()

        @asynccontextmanager
        async def begin(on_queued: OnQueued) -> AsyncIterator[Pieces]:
            own = context.on_queued

            def queued(position: int) -> None:
                on_queued(position)
                if own is not None:
                    own(position)

            async with self._opened(request, replace(context, on_queued=queued, may_relay=False)) as opened:
                yield _pieces_of(opened)

        model, is_chat = collection.find(request.model), isinstance(request, ChatRequest)
        async with aclosing(with_wait_events(begin, model, collection.events, is_chat=is_chat)) as pieces:
            yield pieces

    @asynccontextmanager
    async def _in_its_session(
        self, request: ChatRequest, session_id: str, context: _Context
    ) -> AsyncIterator[OpenedAnswer]:
        """Answer a request while holding its session."""
        model = self._collection().find(request.model)
        async with self._state.sessions.hold(session_id) as held:
            by_default = model.engine.continues_final_message
            turn = SessionTurn(held, request, model=model.name, continues_by_default=by_default)
            async with (
                self._open(turn.request, replace(context, turn=turn)) as opened,
                aclosing(turn.stored(_pieces_of(opened))) as pieces,
            ):
                yield pieces

    @asynccontextmanager
    async def _open(self, request: ChatOrCompletion, context: _Context) -> AsyncIterator[OpenedAnswer]:
        CALL_DEPTH.set(context.caller.depth)
        model = self._collection().find(request.model)
        if context.own_servers is None and (servers := host_tools.remote_servers(request, self._toolbox)):
            own = self._connected(servers)
            async with own as hub, self._open(request, replace(context, own_servers=hub)) as opened:
                yield opened
            return
        if context.may_wait and (starting := self._starting(model, request)) is not None:
            begin = partial(self._open, request, replace(context, may_wait=False, may_relay=False))
            async with aclosing(self._later(model, starting, begin, context)) as pieces:
                yield pieces
            return
        schema = output_schema_of(request)
        request = with_plain_schemas(request)
        first: Sequence[HostEvent] = ()
        if isinstance(request, ChatRequest):
            if request.mcp is not None:
                request = await with_context(request, self._toolbox.reading)
            given = host_tools.granted_tools(request, self._toolbox, context.own_servers, calls_tools=model.calls_tools)
            note_missing(model.name, given)
            first = first_events(request, given)
            if given.tools or request.host_calls.pending:
                loop = self._loop(model, request, context, given, schema)
                with_tools = host_tools.with_tools(request, given.tools)
                async with aclosing(with_first_events(loop.run(with_tools), first)) as pieces:
                    yield pieces
                return
            if model.engine.has_own_tools:
                request = host_tools.without_tools(request, self._toolbox)
        if schema is not None and not context.is_streamed and _may_differ(model, request):
            attempt = partial(self._one_turn, model, request, context)
            async with aclosing(with_first_events(retried(attempt, schema, model=model.name), first)) as pieces:
                yield pieces
            return
        turn_with = turn_of(model, request, self._lease(model, context.on_queued), Notes(model.name))
        async with turn_with as (generation, worker):
            # Only then is nothing of the answer decoded.
            is_unchanged = context.turn is None and schema is None and not first
            if context.may_relay and is_unchanged and generation.can_be_relayed:
                async with generation.stream(worker) as blocks:
                    yield Relayed(generation.relayed(worker, blocks, include_usage=request.include_usage))
                return
            async with aclosing(generation.pieces(worker)) as written:
                judged = written if schema is None else checked(written, schema)
                async with aclosing(with_first_events(judged, first)) as pieces:
                    yield pieces

    @asynccontextmanager
    async def _one_turn(
        self, model: HostedModel, request: ChatOrCompletion, context: _Context
    ) -> AsyncIterator[PieceStream]:
        turn_with = turn_of(model, request, self._lease(model, context.on_queued), Notes(model.name))
        async with turn_with as (generation, worker), aclosing(generation.pieces(worker)) as pieces:
            yield pieces

    async def _later(
        self,
        model: HostedModel,
        starting: StartingServers,
        begin: Callable[[], AbstractAsyncContextManager[OpenedAnswer]],
        context: _Context,
    ) -> PieceStream:
        """Wait for MCP servers that are starting, with an event first, then yield the answer that ``begin`` opens."""
        if context.is_streamed:
            yield waiting_piece(model.name, starting)
        log.info("waiting_for_tools", model=model.name, servers=starting.servers, seconds=round(starting.seconds, 1))
        await self._toolbox.hub.wait_for(starting)
        async with begin() as opened:
            async for piece in _pieces_of(opened):
                yield piece

    def _starting(self, model: HostedModel, request: ChatOrCompletion) -> StartingServers | None:
        """Return the servers that a request has to wait for."""
        if not isinstance(request, ChatRequest) or self._settings.wait_for_tools == "never" or self._toolbox.is_whole:
            return None
        selection = host_tools.selection_for(request, self._toolbox, calls_tools=model.calls_tools)
        return None if selection is None else self._toolbox.hub.starting(selection)

    def _loop(
        self,
        model: HostedModel,
        request: ChatRequest,
        context: _Context,
        given: GrantedTools,
        schema: OutputSchema | None,
    ) -> ToolLoop:
        options, notes = request.mcp, Notes(model.name)
        depth = context.caller.depth
        tools = given.runner or self._toolbox.hub
        granted = frozenset(tool.name for tool in given.tools)
        default = granted if host_tools.are_default(request, self._toolbox) else frozenset[str]()
        of_loop = OfLoop(sounds=SoundCheck(), default_tools=default)

        async def explained(error: ContextLengthExceeded, of_turn: ChatRequest) -> ContextLengthExceeded:
            if len(of_turn.messages) > len(request.messages):
                return error  # because of tool results
            with_host_tools = replace(of_turn, tools=(of_turn.tools or ())[len(request.tools or ()) :])
            return await self._with_tool_tokens(error, model, with_host_tools, context.caller, tools)

        def open_turn(of_turn: ChatRequest) -> AbstractAsyncContextManager[Pieces]:
            turn_with = turn_of(model, of_turn, self._lease(model, context.on_queued), notes, of_loop)
            return PiecesOfTurn(turn_with, partial(explained, of_turn=of_turn))

        most = self._settings.max_tool_turns
        wanted = options.max_turns if options and options.max_turns else most
        limits = LoopLimits(
            turns=min(wanted, most), seconds=self._settings.tool_loop_timeout, depth=self._settings.max_tool_depth
        )
        call_context = CallContext(
            approval=options.approval if options else None,
            granted=granted,
            depth=depth,
        )
        questions = self.questions if context.is_streamed else None
        loop = ToolLoop(
            open_turn,
            tools,
            limits,
            call_context,
            questions,
            lambda: Modalities(images=bool(model.sees_images), audio=bool(model.hears_audio)),
            frozenset(tool.name for tool in request.tools or ()),
            request.host_calls,
            schema,
        )
        if context.turn is not None:
            context.turn.follow(loop)
        return loop

    async def _with_tool_tokens(
        self, error: ContextLengthExceeded, model: HostedModel, request: ChatRequest, caller: Caller, runner: ToolRunner
    ) -> ContextLengthExceeded:
        """Return ``error`` with the tokens that tools take, and the servers to exclude."""
        text = context_budget.text_of(request.messages)
        tools = tools_by_server(request.tools or (), partial(server_of, runner))
        if not all(each.server for each in tools):
            return error  # a server was removed meanwhile
        message_tokens: int | None = None
        with suppress(ModelhostError):  # not every engine can count tokens
            counted = await self.call("tokenize", TokenizeRequest(model=model.name, content=text), caller)
            message_tokens = len(counted["tokens"])
        return with_tool_tokens(error, model.name, tools, message_chars=len(text), message_tokens=message_tokens)

    def _connected(self, servers: Sequence[RemoteMcpServer]) -> AbstractAsyncContextManager[ToolHub]:
        """Connect servers that a request names by their addresses, as long as the context is entered."""
        if not self._settings.remote_mcp_servers:
            raise FetchRefused(
                f"{servers[0].param}: the host connects to no MCP servers but those of its own mcp.json. Whoever runs "
                "the host can permit it with the setting remote_mcp_servers.",
                param=servers[0].param,
            )
        return lazy.request_servers.connected(servers, lazy.fetch_guard.Guard(self._settings.fetch_hosts))

    def _lease(self, model: HostedModel, on_queued: OnQueued | None) -> AbstractAsyncContextManager[Worker]:
        return self._collection().lease(model, on_queued)


def _may_differ(model: HostedModel, request: ChatOrCompletion) -> bool:
    """Whether another attempt may give another answer."""
    sampling = with_defaults(request, model.defaults).sampling
    return sampling.seed is None and sampling.temperature != 0


def _pieces_of(opened: OpenedAnswer) -> Pieces:
    assert not isinstance(opened, Relayed)  # not without may_relay
    return opened


async def _shown(worker: Worker, chat: ChatRequest) -> ChatRequest:
    """Return a conversation to be tokenized as ``worker`` is shown it, if that takes and counts its media."""
    shown = as_shown(worker, chat, Notes(worker.model))
    check_images(worker, shown.messages)
    await SoundCheck().check(worker, shown.messages)
    kinds = {part.kind for message in shown.messages for part in message.media}
    if kinds and not (worker.engine.counts_media and kinds <= COUNTED):
        raise InvalidRequest(f"messages: only text can be tokenized for {worker.model}.", param="messages")
    return shown


@contextmanager
def _naming_places(request: AnyRequest) -> Iterator[None]:
    """Have errors of a worker about an image of a conversation to be tokenized name its path."""
    try:
        yield
    except RequestError as error:
        if isinstance(request, TokenizeRequest) and request.chat is not None:
            name_place(error, request.chat.messages)
        raise

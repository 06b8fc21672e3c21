"""Answering requests: one turn of a model, or the turns of a tool loop, in a session or by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from modelhost.chat import requests, room, tool_answer
from modelhost.chat.absent_tools import missing_fields, note_missing, waiting_event, with_missing
from modelhost.chat.context import with_context
from modelhost.chat.crowding import tools_by_server, with_tools_named
from modelhost.chat.loop import LoopLimits, ToolLoop
from modelhost.chat.notes import Notes
from modelhost.chat.questions import Questions
from modelhost.chat.relay import payloads_of
from modelhost.chat.sampling import sampled, sampling_body
from modelhost.chat.schemas import with_plain_schemas
from modelhost.chat.sessions import SessionTurn, is_in_session
from modelhost.chat.turn import GENERATING, adapted, check_can, turn_of
from modelhost.config.settings import Settings
from modelhost.engines.base import Task
from modelhost.errors import ContextLengthExceeded, ModelhostError, ToolNotFound
from modelhost.logs import get_logger
from modelhost.models.collection import Collection
from modelhost.models.hosted import HostedModel
from modelhost.models.scheduler import OnQueued
from modelhost.state.store import StateStore
from modelhost.tools.context import CallContext
from modelhost.tools.sampling import SamplingAnswer, SamplingRequest
from modelhost.tools.toolbox import Toolbox
from modelhost.workers.client import Worker
from modelhost.workers.depth import DEPTH

if TYPE_CHECKING:  # the MCP SDK behind it takes half a second, and not every host has tools
    from modelhost.tools.patience import Starting

log = get_logger(__name__)


class Answering:
    """Answers with the models, the tools and the sessions of a host."""

    def __init__(
        self, settings: Settings, collection: Callable[[], Collection], toolbox: Toolbox, state: StateStore
    ) -> None:
        self._settings = settings
        self._collection = collection
        self._toolbox = toolbox
        self._state = state
        self.questions = Questions(settings.question_timeout)
        """What somebody is asked while tools run."""

    def stream(
        self, task: Task, body: dict[str, Any], on_queued: OnQueued | None = None, *, depth: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Answer a chat completion or completion as SSE blocks; entered when the engine has accepted the request.

        Leaving the context cancels the work. ``on_queued`` is told the place in the queue if there is a wait.
        ``depth`` says in how many calls of tools the request stands (:data:`modelhost.workers.depth.DEPTH_HEADER`).
        With ``session_id`` in a chat's body, its messages go on with a stored conversation, and the exchange is stored
        before the last block comes (:mod:`modelhost.chat.sessions`).

        Raises:
            ModelhostError: before the first block, or out of the iterator in the middle of the answer.
        """
        if is_in_session(task, body):
            return self._stream_in_session(body, on_queued, depth)
        return self._stream(task, body, on_queued, depth)

    @asynccontextmanager
    async def _stream_in_session(
        self, body: dict[str, Any], on_queued: OnQueued | None, depth: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async with (
            self._session_turn(body) as turn,
            self._stream("chat", turn.body, on_queued, depth, turn) as blocks,
            aclosing(turn.told(blocks)) as told,
        ):
            yield told

    @asynccontextmanager
    async def _session_turn(self, body: dict[str, Any]) -> AsyncIterator[SessionTurn]:
        """Hold the session of a request as long as it is answered."""
        requests.validate("chat", body)
        model = self._collection().find(body.get("model"))
        async with self._state.sessions.hold(body["session_id"]) as held:
            yield SessionTurn(held, body, model=model.name)

    @asynccontextmanager
    async def _stream(  # noqa: PLR0913 (all are parts of one request)
        self,
        task: Task,
        body: dict[str, Any],
        on_queued: OnQueued | None,
        depth: int,
        turn: SessionTurn | None = None,
        *,
        may_wait: bool = True,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        DEPTH.set(depth)
        requests.validate(task, body)
        model = self._collection().find(body.get("model"))
        if may_wait and (starting := self._starting(task, body)) is not None:
            begin = partial(self._stream, task, body, on_queued, depth, turn, may_wait=False)
            async with aclosing(self._blocks_later(model, starting, begin)) as answer:
                yield answer
            return
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        body = await self._with_context(task, body)
        given = tool_answer.given_to(body, self._toolbox) if task == "chat" else tool_answer.NONE
        note_missing(model.name, given.missing)
        if given.tools:
            loop = self._loop(model, body, on_queued, questions=self.questions, depth=depth)
            if turn is not None:
                turn.follow(loop)
            answer = tool_answer.streamed(loop, tool_answer.with_tools(body, given.tools), include_usage=include_usage)
            async with aclosing(answer), with_missing(answer, given.missing) as blocks:
                yield blocks
            return
        lease = self._lease(model, on_queued)
        turn_with = turn_of(model, task, body, lease, Notes(model.name), include_usage=include_usage)
        async with (
            turn_with as (generation, worker),
            generation.stream(worker) as blocks,
            with_missing(blocks, given.missing) as told,
        ):
            yield told

    async def _blocks_later(
        self,
        model: HostedModel,
        starting: Starting,
        begin: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]],
    ) -> AsyncGenerator[bytes, None]:
        """Yield the blocks of the answer that ``begin`` begins, once the servers have had their time; say so first."""
        yield waiting_event(model.name, starting)
        await self._wait_for(model, starting)
        async with begin() as blocks:
            async for block in blocks:
                yield block

    async def chunks(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Answer a chat completion as chunks; errors are as :meth:`stream` has them."""
        async with self.stream("chat", body) as blocks:
            async for block in blocks:
                for chunk in payloads_of(block):
                    yield chunk

    async def call(
        self, task: Task, body: dict[str, Any], on_queued: OnQueued | None = None, *, depth: int = 0
    ) -> dict[str, Any]:
        """Answer any task as one object; sessions and errors are as :meth:`stream` has them."""
        if is_in_session(task, body):
            async with self._session_turn(body) as turn:
                answer = await self._call("chat", turn.body, on_queued, depth, turn)
                await turn.store(answer)
                return answer
        return await self._call(task, body, on_queued, depth)

    async def _call(
        self,
        task: Task,
        body: dict[str, Any],
        on_queued: OnQueued | None,
        depth: int,
        turn: SessionTurn | None = None,
    ) -> dict[str, Any]:
        DEPTH.set(depth)
        requests.validate(task, body)
        model = self._collection().find(body.get("model"))
        if (starting := self._starting(task, body)) is not None:
            await self._wait_for(model, starting)
        body = await self._with_context(task, body)
        given = tool_answer.given_to(body, self._toolbox) if task == "chat" else tool_answer.NONE
        note_missing(model.name, given.missing)
        if given.tools:
            # Nobody can be asked: the answer has no stream to ask on.
            loop = self._loop(model, body, on_queued, questions=None, depth=depth)
            if turn is not None:
                turn.follow(loop)
            whole = await tool_answer.whole(loop, tool_answer.with_tools(body, given.tools))
            return {**whole, **missing_fields(given.missing)}
        if task in GENERATING:
            turn_with = turn_of(model, task, body, self._lease(model, on_queued), Notes(model.name))
            async with turn_with as (generation, worker):
                return {**await generation.whole(worker), **missing_fields(given.missing)}
        prepared, engine = adapted(model, task, body), model.engine
        async with self._lease(model, on_queued) as worker:
            if model.engine is not engine:
                prepared = adapted(model, task, body)
            check_can(worker, task, body)
            answer: dict[str, Any] = await worker.call(task, prepared)
        model.meters.count_usage(answer.get("usage"))
        return answer

    def _starting(self, task: Task, body: Mapping[str, Any]) -> Starting | None:
        """Return the servers that a request is to wait for."""
        if task != "chat" or self._settings.wait_for_tools == "never" or self._toolbox.is_whole:
            return None
        selection = tool_answer.selection_for(body, self._toolbox)
        return None if selection is None else self._toolbox.hub.starting(selection)

    async def _wait_for(self, model: HostedModel, starting: Starting) -> None:
        log.info("waiting_for_tools", model=model.name, servers=starting.servers, seconds=round(starting.seconds, 1))
        await self._toolbox.hub.wait_for(starting)

    async def _with_context(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` with plain schemas, and the resources and prompts that it asks for in its conversation."""
        if task in GENERATING:
            body = with_plain_schemas(body)
        if task != "chat" or body.get("mcp") is None:
            return body
        reading = self._toolbox.hub.reading
        return {**body, "messages": await with_context(body["messages"], tool_answer.wishes_of(body), reading)}

    def _loop(
        self,
        model: HostedModel,
        body: Mapping[str, Any],
        on_queued: OnQueued | None,
        *,
        questions: Questions | None,
        depth: int,
    ) -> ToolLoop:
        wishes = tool_answer.wishes_of(body)
        notes = Notes(model.name)

        @asynccontextmanager
        async def open_turn(of_turn: dict[str, Any]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
            turn_with = turn_of(model, "chat", of_turn, self._lease(model, on_queued), notes)
            try:
                async with turn_with as (generation, worker), generation.chunks(worker) as chunks:
                    yield chunks
            except ContextLengthExceeded as error:
                if len(of_turn["messages"]) > len(body["messages"]):
                    raise  # because of what tools returned
                raise await self._with_tools_named(error, model, of_turn, depth) from None

        most = self._settings.max_tool_turns
        wanted = wishes.max_turns if wishes and wishes.max_turns else most
        limits = LoopLimits(
            turns=min(wanted, most), seconds=self._settings.tool_loop_timeout, depth=self._settings.max_tool_depth
        )
        context = CallContext(approval=wishes.approval if wishes else None, depth=depth)
        return ToolLoop(open_turn, self._toolbox.hub, limits, context, questions, lambda: bool(model.sees_images))

    async def _with_tools_named(
        self, error: ContextLengthExceeded, model: HostedModel, body: Mapping[str, Any], depth: int
    ) -> ContextLengthExceeded:
        """Return ``error`` with what the tools take of the context, and which servers to leave out."""
        text = room.text_of(body["messages"])
        try:
            tools = tools_by_server(body["tools"], lambda name: self._toolbox.hub.tool(name).server)
        except ToolNotFound:
            return error  # its server went meanwhile
        message_tokens: int | None = None
        with suppress(ModelhostError):  # not every engine counts for us
            counted = await self._call("tokenize", {"model": model.name, "content": text}, None, depth)
            message_tokens = len(counted["tokens"])
        return with_tools_named(error, model.name, tools, message_chars=len(text), message_tokens=message_tokens)

    def _lease(self, model: HostedModel, on_queued: OnQueued | None) -> AbstractAsyncContextManager[Worker]:
        return self._collection().scheduler.lease(model, on_queued)

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Write for an MCP server, with the model that its hints name, else with the active one."""
        return sampled(await self.call("chat", sampling_body(request, self._collection().models)))

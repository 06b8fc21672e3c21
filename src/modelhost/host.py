"""The host: puts models, workers and turns together. What every face calls; it knows nothing of HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, aclosing, asynccontextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from modelhost import logs
from modelhost.chat import requests, tool_answer
from modelhost.chat.context import with_context
from modelhost.chat.loop import LoopLimits, ToolLoop
from modelhost.chat.questions import Questions
from modelhost.chat.relay import payloads_of
from modelhost.chat.sampling import sampled, sampling_body
from modelhost.chat.sessions import SessionTurn, is_in_session
from modelhost.chat.turn import GENERATING, adapted, check_can, turn_of
from modelhost.config import environment
from modelhost.config.secrets import secrets_in
from modelhost.config.settings import Settings
from modelhost.engines.base import Operation
from modelhost.log_file import Clock
from modelhost.models.collection import Collection
from modelhost.models.download import DownloadProgress
from modelhost.models.hosted import HostedModel
from modelhost.models.scheduler import OnQueued
from modelhost.models.states import HostStatus, LoadEstimate, ModelEvent, ModelLog, Selected, State, Unloaded
from modelhost.persistence.saved_state import Persistence
from modelhost.redaction import hide
from modelhost.state.store import StateStore
from modelhost.tools.context import CallContext
from modelhost.tools.sampling import SamplingAnswer, SamplingRequest
from modelhost.tools.toolbox import Toolbox
from modelhost.workers.client import Worker
from modelhost.workers.depth import DEPTH
from modelhost.workers.process import ProgressCallback

ANSWERING = frozenset({State.READY, State.BUSY, State.UNLOADED})
Messages = str | Sequence[Mapping[str, Any]]


class Host:
    """Hosts a model as long as it is entered.

    ::

        async with Host(model="model.gguf") as host:
            print(await host.chat("Hello!"))
    """

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        """Take the settings as an object, or as keywords (those of :class:`Settings`)."""
        if settings is None:
            settings = Settings.model_validate(overrides)
        elif overrides:
            settings = Settings.model_validate({**settings.model_dump(), **overrides})
        self.settings = settings
        self._log = ExitStack()
        self._collection: Collection | None = None
        self._toolbox: Toolbox | None = None
        self.questions = Questions(settings.question_timeout)
        """What somebody is asked while tools run."""
        self.state = StateStore(settings)
        """Sessions, snapshots and the audit log; the database is opened when it is first needed."""
        self.persistence = Persistence(self.state, lambda: self.collection)
        """Saves and restores what the host holds."""

    async def start(
        self,
        *,
        on_download: DownloadProgress | None = None,
        on_progress: ProgressCallback | None = None,
        load: bool = True,
        launch: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Find the models, load the one that the settings name and return when it can answer.

        Without ``load`` nothing is looked for: the first request has its model found, downloaded and loaded, and is
        told what is wrong with it. ``launch`` are launch parameters of that model, as in a registry's ``params``: for
        the engine that it turns out to have.

        Raises:
            SetupError: a model or a setting cannot be used.
            DatabaseUnavailable: the database of the settings cannot be used.
            WorkerStartFailed: the engine could not load it.
        """
        logs.setup_if_unset()
        hide(secrets_in(self.settings))
        self._log.enter_context(log_to_file(self.settings))
        try:
            await self._start(on_download, on_progress, load=load, launch=launch)
        except BaseException:
            await self.state.close()
            self._log.close()
            raise

    async def _start(
        self,
        on_download: DownloadProgress | None,
        on_progress: ProgressCallback | None,
        *,
        load: bool,
        launch: Mapping[str, Any],
    ) -> None:
        if self.settings.database_url is not None:
            await self.state.open()  # who names a database wants to learn at once that it is not there
        # First the servers of tools: they connect while the model is loaded.
        path = Path(self.settings.mcp_config) if self.settings.mcp_config else None
        self._toolbox = await Toolbox.start(path, environment.current(), sampler=self)
        try:
            if self.settings.wait_for_tools:
                await self._toolbox.settled()
            self._collection = await Collection.start(
                self.settings, on_download=on_download, on_progress=on_progress, load=load, launch=launch
            )
        except BaseException:
            await self._toolbox.stop()
            raise

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Let the requests at work finish (``shutdown_timeout`` at most), then end the workers."""
        with self._log:
            await self.persistence.stop()
            if self._collection is not None:
                seconds = self.settings.shutdown_timeout if drain_seconds is None else drain_seconds
                await self._collection.stop(seconds)
            if self._toolbox is not None:
                await self._toolbox.stop()
            await self.state.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop(drain_seconds=0 if error is not None else None)

    @property
    def collection(self) -> Collection:
        """The models, and what can be done with them.

        Raises:
            RuntimeError: the host has not been started.
        """
        if self._collection is None:
            raise RuntimeError("a modelhost.Host has models once it is started: use it with `async with`")
        return self._collection

    @property
    def toolbox(self) -> Toolbox:
        """The MCP servers and their tools; raises RuntimeError as :attr:`collection` does."""
        if self._toolbox is None:
            raise RuntimeError("a modelhost.Host has tools once it is started: use it with `async with`")
        return self._toolbox

    @property
    def models(self) -> tuple[HostedModel, ...]:
        """The models, the active one first."""
        return self.collection.models

    @property
    def is_ready(self) -> bool:
        """Whether a request would be answered: some model is ready, or waits for nothing but a request."""
        return any(model.state in ANSWERING for model in self.collection.status().models)

    def find(self, name: str | None) -> HostedModel:
        """Return the model called ``name``; without a name the active one.

        Raises:
            ModelNotFound: with the names that there are.
        """
        return self.collection.find(name)

    def status(self) -> HostStatus:
        """Return the state of all models."""
        return self.collection.status()

    async def load(self, name: str, *, wait: bool = False) -> LoadEstimate:
        """Have a model loaded; return at once with an estimate, or with ``wait`` when it is ready.

        Raises:
            ModelNotFound: no such model.
            ModelhostError: with ``wait``, why it could not be loaded.
        """
        return await self.collection.scheduler.load(self.find(name), wait=wait)

    async def unload(self, name: str, *, force: bool = False) -> Unloaded:
        """End the worker of a model and return when its memory is back.

        Raises:
            ModelNotFound: no such model.
            ModelBusy: it has requests, and ``force`` is not given.
        """
        return await self.collection.scheduler.unload(self.find(name), force=force)

    def select(self, name: str) -> Selected:
        """Make a model the one of requests that name none, and have it loaded; raises ModelNotFound."""
        return self.collection.select(name)

    def configure(self, name: str, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        """Overlay the request defaults of a model (``None`` takes one away); return what is in force.

        Raises:
            ModelNotFound, InvalidRequest: as their names say.
        """
        return self.collection.configure(name, defaults)

    def model_log(self, name: str) -> ModelLog:
        """Return what a model's worker wrote last, and what happened to the model; raises ModelNotFound."""
        return self.find(name).log()

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[ModelEvent]]:
        """News of the models for one listener: first the state of each, then every change, until the host stops."""
        return self.collection.events()

    async def pull(self, reference: str, *, revision: str | None, on_progress: DownloadProgress) -> Path:
        """Download a model from the hub; return its (first) file.

        Raises:
            InvalidRequest: it is no hub id.
            DownloadFailed, EngineMissing: the hub did not give it, or has no file that can be served.
        """
        return await self.collection.pull(reference, revision=revision, on_progress=on_progress)

    def stream(
        self, operation: Operation, body: dict[str, Any], on_queued: OnQueued | None = None, *, depth: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Answer a chat completion or completion as SSE blocks; entered when the engine has accepted the request.

        Leaving the context cancels the work. ``on_queued`` is told the place in the queue if there is a wait.
        ``depth`` says in how many calls of tools the request stands (:data:`modelhost.workers.depth.DEPTH_HEADER`).
        With ``session_id`` in a chat's body, its messages go on with a stored conversation, and the exchange is stored
        before the last block comes (:mod:`modelhost.chat.sessions`).

        Raises:
            ModelhostError: before the first block, or out of the iterator in the middle of the answer.
        """
        if is_in_session(operation, body):
            return self._stream_in_session(body, on_queued, depth)
        return self._stream(operation, body, on_queued, depth)

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
        model = self.find(body.get("model"))
        async with self.state.sessions.hold(body["session_id"]) as held:
            yield SessionTurn(held, body, model=model.name)

    @asynccontextmanager
    async def _stream(
        self,
        operation: Operation,
        body: dict[str, Any],
        on_queued: OnQueued | None,
        depth: int,
        turn: SessionTurn | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        DEPTH.set(depth)
        requests.validate(operation, body)
        model = self.find(body.get("model"))
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        body = await self._with_context(operation, body)
        if operation == "chat" and (tools := tool_answer.tools_for(body, self.toolbox)):
            loop = self._loop(model, body, on_queued, questions=self.questions, depth=depth)
            if turn is not None:
                turn.follow(loop)
            answer = tool_answer.streamed(loop, tool_answer.with_tools(body, tools), include_usage=include_usage)
            async with aclosing(answer):
                yield answer
            return
        turn_with = turn_of(model, operation, body, self._lease(model, on_queued), include_usage=include_usage)
        async with turn_with as (generation, worker), generation.stream(worker) as blocks:
            yield blocks

    async def call(
        self, operation: Operation, body: dict[str, Any], on_queued: OnQueued | None = None, *, depth: int = 0
    ) -> dict[str, Any]:
        """Answer any operation as one object; sessions and errors are as :meth:`stream` has them."""
        if is_in_session(operation, body):
            async with self._session_turn(body) as turn:
                answer = await self._call("chat", turn.body, on_queued, depth, turn)
                await turn.store(answer)
                return answer
        return await self._call(operation, body, on_queued, depth)

    async def _call(
        self,
        operation: Operation,
        body: dict[str, Any],
        on_queued: OnQueued | None,
        depth: int,
        turn: SessionTurn | None = None,
    ) -> dict[str, Any]:
        DEPTH.set(depth)
        requests.validate(operation, body)
        model = self.find(body.get("model"))
        body = await self._with_context(operation, body)
        if operation == "chat" and (tools := tool_answer.tools_for(body, self.toolbox)):
            # Nobody can be asked: the answer has no stream to ask on.
            loop = self._loop(model, body, on_queued, questions=None, depth=depth)
            if turn is not None:
                turn.follow(loop)
            return await tool_answer.whole(loop, tool_answer.with_tools(body, tools))
        if operation in GENERATING:
            async with turn_of(model, operation, body, self._lease(model, on_queued)) as (generation, worker):
                return await generation.whole(worker)
        prepared, engine = adapted(model, operation, body), model.engine
        async with self._lease(model, on_queued) as worker:
            if model.engine is not engine:
                prepared = adapted(model, operation, body)
            check_can(worker, operation, body)
            answer: dict[str, Any] = await worker.call(operation, prepared)
        model.meters.count_usage(answer.get("usage"))
        return answer

    async def chat(self, messages: Messages, **parameters: Any) -> dict[str, Any]:
        """Answer ``messages`` (a list of messages, or the text of one by the user) with a chat completion object.

        ``parameters`` are the fields of a request; with ``session_id`` the host remembers what was said before.
        """
        return await self.call("chat", {"messages": as_messages(messages), **parameters})

    async def chat_stream(self, messages: Messages, **parameters: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Answer ``messages`` with chat completion chunks as they come."""
        async with self.stream("chat", {"messages": as_messages(messages), **parameters}) as blocks:
            async for block in blocks:
                for chunk in payloads_of(block):
                    yield chunk

    async def _with_context(self, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` with the resources and prompts that it asks for in its conversation."""
        if operation != "chat" or body.get("mcp") is None:
            return body
        reading = self.toolbox.hub.reading
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

        @asynccontextmanager
        async def open_turn(body: dict[str, Any]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
            turn_with = turn_of(model, "chat", body, self._lease(model, on_queued))
            async with turn_with as (generation, worker), generation.chunks(worker) as chunks:
                yield chunks

        most = self.settings.max_tool_turns
        wanted = wishes.max_turns if wishes and wishes.max_turns else most
        limits = LoopLimits(
            turns=min(wanted, most), seconds=self.settings.tool_loop_timeout, depth=self.settings.max_tool_depth
        )
        context = CallContext(approval=wishes.approval if wishes else None, depth=depth)
        return ToolLoop(open_turn, self.toolbox.hub, limits, context, questions, lambda: bool(model.sees_images))

    def _lease(self, model: HostedModel, on_queued: OnQueued | None) -> AbstractAsyncContextManager[Worker]:
        return self.collection.scheduler.lease(model, on_queued)

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Write for an MCP server, with the model that its hints name, else with the active one."""
        return sampled(await self.call("chat", sampling_body(request, self.models)))


def log_to_file(settings: Settings, clock: Clock = time.time) -> AbstractContextManager[None]:
    """Have the log in the file that ``settings`` name, if they name one; raises ConfigError if it cannot be written."""
    return logs.to_file(
        settings.log_file, settings.log_level, settings.log_format, with_contents=settings.log_prompts, clock=clock
    )


def as_messages(messages: Messages) -> list[Mapping[str, Any]]:
    """Return ``messages``; a text becomes the one message of a user."""
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)

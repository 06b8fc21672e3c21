"""The host: puts models, workers and turns together. What every face calls; it knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from modelhost import logs
from modelhost.chat import requests, tool_answer, tool_choice
from modelhost.chat.context import with_context
from modelhost.chat.defaults import with_defaults
from modelhost.chat.generation import Generation
from modelhost.chat.loop import LoopLimits, ToolLoop
from modelhost.chat.questions import Questions
from modelhost.chat.relay import Report, payloads_of
from modelhost.chat.sampling import sampled, sampling_body
from modelhost.config import environment
from modelhost.config.settings import Settings
from modelhost.engines.base import Operation
from modelhost.errors import ContextLengthExceeded, UnsupportedOperation
from modelhost.models.collection import Collection
from modelhost.models.download import DownloadProgress
from modelhost.models.hosted import HostedModel
from modelhost.models.scheduler import OnQueued
from modelhost.models.states import HostStatus, LoadEstimate, ModelEvent, Selected, State, Unloaded
from modelhost.tools.context import CallContext
from modelhost.tools.sampling import SamplingAnswer, SamplingRequest
from modelhost.tools.toolbox import Toolbox
from modelhost.workers.client import Worker
from modelhost.workers.process import ProgressCallback

GENERATING: frozenset[Operation] = frozenset({"chat", "completions"})
PROMPTS: Mapping[Operation, str] = {"chat": "messages", "completions": "prompt"}  # the field that can be too long
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
NOT_FOR_ENGINES = requests.INERT | {"mcp"}
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
        self._collection: Collection | None = None
        self._toolbox: Toolbox | None = None
        self.questions = Questions(settings.question_timeout)
        """What somebody is asked while tools run."""

    async def start(
        self, *, on_download: DownloadProgress | None = None, on_progress: ProgressCallback | None = None
    ) -> None:
        """Find the models, load the one that the settings name and return when it can answer.

        Raises:
            SetupError: a model or a setting cannot be used.
            WorkerStartFailed: the engine could not load it.
        """
        logs.setup_if_unset()
        # First the servers of tools: they connect while the model is loaded.
        path = Path(self.settings.mcp_config) if self.settings.mcp_config else None
        self._toolbox = await Toolbox.start(path, environment.current(), sampler=self)
        try:
            self._collection = await Collection.start(self.settings, on_download=on_download, on_progress=on_progress)
        except BaseException:
            await self._toolbox.stop()
            raise

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Let the requests at work finish (``shutdown_timeout`` at most), then end the workers."""
        if self._collection is not None:
            seconds = self.settings.shutdown_timeout if drain_seconds is None else drain_seconds
            await self._collection.stop(seconds)
        if self._toolbox is not None:
            await self._toolbox.stop()

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

    @asynccontextmanager
    async def stream(
        self, operation: Operation, body: dict[str, Any], on_queued: OnQueued | None = None, *, depth: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Answer a chat completion or completion as SSE blocks; yields when the engine has accepted the request.

        Leaving the context cancels the work. ``on_queued`` is told the place in the queue if there is a wait.
        ``depth`` says in how many calls of tools the request stands (:data:`modelhost.tools.flight.DEPTH_HEADER`).

        Raises:
            ModelhostError: before the first block, or out of the iterator in the middle of the answer.
        """
        requests.validate(operation, body)
        model = self.find(body.get("model"))
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        body = await self._with_context(operation, body)
        if operation == "chat" and (tools := tool_answer.tools_for(body, self.toolbox)):
            loop = self._loop(model, body, on_queued, questions=self.questions, depth=depth)
            answer = tool_answer.streamed(loop, tool_answer.with_tools(body, tools), include_usage=include_usage)
            async with aclosing(answer):
                yield answer
            return
        generation = self._generation(model, operation, body, include_usage=include_usage)
        async with self._lease(model, on_queued) as worker, self._measured(model, operation, generation.report):
            _check_can(worker, operation)
            async with generation.stream(worker) as blocks:
                yield blocks

    async def call(
        self, operation: Operation, body: dict[str, Any], on_queued: OnQueued | None = None, *, depth: int = 0
    ) -> dict[str, Any]:
        """Answer any operation as one object; raises as :meth:`stream` does."""
        requests.validate(operation, body)
        model = self.find(body.get("model"))
        body = await self._with_context(operation, body)
        if operation == "chat" and (tools := tool_answer.tools_for(body, self.toolbox)):
            # Nobody can be asked: the answer has no stream to ask on.
            loop = self._loop(model, body, on_queued, questions=None, depth=depth)
            return await tool_answer.whole(loop, tool_answer.with_tools(body, tools))
        if operation in GENERATING:
            generation = self._generation(model, operation, body, include_usage=False)
            async with self._lease(model, on_queued) as worker, self._measured(model, operation, generation.report):
                _check_can(worker, operation)
                return await generation.whole(worker)
        prepared = model.engine.adapt(operation, self._prepare(model, operation, body))
        async with self._lease(model, on_queued) as worker:
            _check_can(worker, operation)
            answer: dict[str, Any] = await worker.call(operation, prepared)
        model.meters.count_usage(answer.get("usage"))
        return answer

    async def chat(self, messages: Messages, **parameters: Any) -> dict[str, Any]:
        """Answer ``messages`` (a list of messages, or the text of one by the user) with a chat completion object."""
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
        async def open_turn(turn: dict[str, Any]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
            generation = self._generation(model, "chat", turn, include_usage=False)
            async with self._lease(model, on_queued) as worker, self._measured(model, "chat", generation.report):
                _check_can(worker, "chat")
                async with generation.chunks(worker) as chunks:
                    yield chunks

        most = self.settings.max_tool_turns
        wanted = wishes.max_turns if wishes and wishes.max_turns else most
        limits = LoopLimits(
            turns=min(wanted, most), seconds=self.settings.tool_loop_timeout, depth=self.settings.max_tool_depth
        )
        context = CallContext(approval=wishes.approval if wishes else None, depth=depth)
        return ToolLoop(open_turn, self.toolbox.hub, limits, context, questions)

    def _lease(self, model: HostedModel, on_queued: OnQueued | None) -> AbstractAsyncContextManager[Worker]:
        return self.collection.scheduler.lease(model, on_queued)

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Write for an MCP server, with the model that its hints name, else with the active one."""
        return sampled(await self.call("chat", sampling_body(request, self.models)))

    def _generation(
        self, model: HostedModel, operation: Operation, body: dict[str, Any], *, include_usage: bool
    ) -> Generation:
        prepared = self._prepare(model, operation, body)
        is_forced = tool_choice.is_forced(prepared)
        adapted = model.engine.adapt(operation, prepared)
        # An engine that cannot force a call asks its model for the call's JSON instead of showing it tools.
        writes_call = is_forced and "tools" not in adapted
        return Generation(operation, adapted, include_usage=include_usage, writes_call=writes_call)

    def _prepare(self, model: HostedModel, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body``, which is left as it is, without what does not concern an engine, and with what all get."""
        requests.validate_fields(operation, body, model.engine)
        prepared = {key: value for key, value in body.items() if value is not None and key not in NOT_FOR_ENGINES}
        if operation in GENERATING:
            prepared = with_defaults(prepared, model.defaults)
        prepared["model"] = model.name
        if operation == "chat":
            prepared = tool_choice.enforce(prepared)
        if operation in GENERATING:
            prepared |= STREAMED
        return prepared

    @asynccontextmanager
    async def _measured(self, model: HostedModel, operation: Operation, report: Report) -> AsyncIterator[None]:
        try:
            yield
        except ContextLengthExceeded as error:
            error.param = PROMPTS[operation]
            raise
        finally:
            model.meters.count_usage(report.usage)
            if report.first_at is not None and report.last_at is not None:
                model.meters.time_to_first_token.observe(report.first_at - report.began)
                tokens = (report.usage or {}).get("completion_tokens", 0)
                if tokens > 1:
                    seconds = (report.last_at - report.first_at) / (tokens - 1)
                    model.meters.time_between_tokens.observe(seconds)


def as_messages(messages: Messages) -> list[Mapping[str, Any]]:
    """Return ``messages``; a text becomes the one message of a user."""
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)


def _check_can(worker: Worker, operation: Operation) -> None:
    if operation not in worker.ready.operations:
        can = ", ".join(sorted(worker.ready.operations))
        advice = worker.engine.advice(operation)
        raise UnsupportedOperation(
            f"{worker.model} cannot do {operation}; it can do: {can}. {advice}".rstrip(), model=worker.model
        )

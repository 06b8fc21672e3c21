"""The host: combines models, tools, sessions and answering. All doors call it; it knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from modelhost import lazy, logs
from modelhost.config.fields import secrets_in
from modelhost.config.settings import Settings
from modelhost.engines.load_config import LoadConfig
from modelhost.errors import ModelNotFound, UnsupportedOperation
from modelhost.exchange.caller import NOBODY, Authorise, Caller, admit
from modelhost.exchange.chunks import chunk_of
from modelhost.exchange.events import Relayed, Usage
from modelhost.exchange.requests import AnyRequest, ChatRequest, CompletionRequest
from modelhost.exchange.sse import rendered
from modelhost.exchange.tasks import Task
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.media import OTHER_METHODS, MediaMethods
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.residency.created import CreatedModels
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.lease import OnQueued
from modelhost.models.residency.status import (
    HostStatus,
    LoadEstimate,
    ModelEvent,
    ModelLog,
    PulledModel,
    Selected,
    State,
    Unloaded,
)
from modelhost.monitor.measure import recorded, recording
from modelhost.parts import HostParts, log_to_file
from modelhost.redaction import hide
from modelhost.tracing import spans
from modelhost.workers.process import ProgressCallback

if TYPE_CHECKING:
    from modelhost.chat.answering import ChatOrCompletion, OpenedAnswer
    from modelhost.chat.tools.questions import Questions
    from modelhost.state.records import AuditEntry
    from modelhost.tools.callbacks import SamplingAnswer, SamplingRequest
    from modelhost.tools.hub import ToolHub
    from modelhost.tools.reading import ResourceReader

AVAILABLE_STATES = frozenset({State.READY, State.BUSY, State.UNLOADED})
DEFAULT_LOAD = LoadConfig()
Messages = str | Sequence[Mapping[str, Any]]


class Host(HostParts, MediaMethods):
    """Hosts a model as long as it is entered.

    ::

        async with Host(model="model.gguf") as host:
            print(await host.chat("Hello!"))
    """

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        """Take the settings as an object, or as keywords of :class:`Settings`."""
        if settings is None:
            settings = Settings.model_validate(overrides)
        elif overrides:
            settings = Settings.model_validate({**settings.model_dump(), **overrides})
        super().__init__(settings, sampler=self)
        self._log = ExitStack()
        self._stops: list[Callable[[], Awaitable[None]]] = []
        self.authorise: Authorise = admit
        """Called before every operation, from any door; raises an error to refuse it."""

    async def start(
        self,
        *,
        on_download: DownloadProgress | None = None,
        on_progress: ProgressCallback | None = None,
        while_loading: Callable[[], object] = lambda: None,
        load: bool = True,
        launch: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Find the models, load the one of the settings, and return when it is ready.

        Without ``load``, the first request has its model found, downloaded and loaded, and gets the errors. ``launch``
        are launch parameters of that model for its engine, as in a registry's ``params``. ``while_loading`` is called
        when the worker loads it and this process has nothing else to do; not if the start has failed before that.

        Raises:
            SetupError: a model or a setting cannot be used.
            DatabaseUnavailable: the database of the settings cannot be used.
            WorkerStartFailed: the engine could not load it.
        """
        logs.setup_once()
        hide(secrets_in(self.settings))
        self._log.enter_context(log_to_file(self.settings))
        try:
            await self._start_parts(on_download, on_progress, while_loading, load=load, launch=launch)
        except BaseException:
            self._log.close()
            raise

    def at_stop(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Await ``stop`` when the host stops, before its models do: it ends what no request waits for."""
        self._stops.append(stop)

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Let requests in flight finish, for ``shutdown_timeout`` at most, then stop the workers."""
        with self._log:
            for stop in self._stops:
                await stop()
            await self._stop_parts(self.settings.shutdown_timeout if drain_seconds is None else drain_seconds)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        await self.stop(drain_seconds=0 if error is not None else None)

    def note(self, entry: AuditEntry) -> None:
        """Add an entry to the audit log; never blocks and never raises."""
        self.state.audit.note(entry)

    @property
    def questions(self) -> Questions:
        """The open questions of tool calls; raises RuntimeError like :attr:`collection`."""
        return self.answering.questions

    @property
    def tools(self) -> ToolHub:
        """The MCP servers and their tools; raises RuntimeError like :attr:`collection`."""
        return self.toolbox.hub

    @property
    def readings(self) -> ResourceReader:
        """The resources and prompts of MCP servers; raises RuntimeError like :attr:`collection`."""
        return self.toolbox.reading

    @property
    def models(self) -> tuple[HostedModel, ...]:
        """The models, the active one first."""
        return self.collection.models

    @property
    def created(self) -> CreatedModels:
        """The models that clients have made of others; raises RuntimeError like :attr:`collection`."""
        return self.collection.created

    @property
    def is_ready(self) -> bool:
        """Whether some model is ready, or would be loaded for a request."""
        return any(model.state in AVAILABLE_STATES for model in self.collection.status().models)

    def find(self, name: str | None) -> HostedModel:
        """Return the model called ``name``, without a name the active one; raises ModelNotFound."""
        return self.collection.find(name)

    def status(self) -> HostStatus:
        """Return the status of all models; call :meth:`look` before, for details of models that were never loaded."""
        return self.collection.status()

    async def refresh_previews(self) -> None:
        """Inspect the files of models that are not loaded, where they are not known yet; downloads nothing."""
        await self.collection.refresh_previews()

    async def gpu_utilization(self, name: str) -> float | None:
        """Return the utilization of a model's GPUs, 0 to 1; ``None``: it is on none. Raises ModelNotFound."""
        return await self.collection.gpu_utilization(name)

    async def find_or_add(self, name: str, *, on_progress: DownloadProgress) -> HostedModel:
        """Return the model called ``name``; one of the hub or of this machine is downloaded and added if necessary.

        Raises:
            ModelNotFound, ModelNotAllowed: there is no such model, or ``allow_models`` does not permit it.
            SetupError: it cannot be downloaded or used.
        """
        return await self.collection.find_or_add(name, on_progress=on_progress)

    async def load(
        self,
        name: str,
        *,
        config: LoadConfig = DEFAULT_LOAD,
        persist: bool = False,
        force: bool = False,
        wait: bool = False,
    ) -> LoadEstimate:
        """Load a model; return an estimate at once, or with ``wait`` when it is ready.

        A model that is loaded with another ``config`` is reloaded: its requests in flight finish first, unless
        ``force`` cancels them; queued ones get the new worker. Unless ``persist``, the configuration ends with the
        worker, or with the next call without ``config``.

        Raises:
            ModelNotFound: no such model.
            InvalidRequest, UnsupportedParameter: the model or its engine does not support ``config``.
            InsufficientMemory: it cannot fit.
            ModelhostError: with ``wait``, why it could not be loaded; without, why its files cannot be used. After a
                failed reload, the model is loaded as before.
        """
        model = self.find(name)
        return await self.collection.load(model, config, persists=persist, force=force, wait=wait)

    async def unload(self, name: str, *, force: bool = False) -> Unloaded:
        """Stop the worker of a model and return when its memory is free.

        Raises:
            ModelNotFound: no such model.
            ModelBusy: it has requests in flight, and ``force`` is not given.
        """
        return await self.collection.scheduler.unload(self.find(name), force=force)

    def keep(self, name: str, seconds: float) -> None:
        """Unload a model once it has had no requests for ``seconds``; infinite: only when its memory is needed.

        This holds for the worker that it has now, and then its own setting again. Pinned models stay loaded.
        Raises ModelNotFound.
        """
        self.collection.keep(self.find(name), seconds)

    def select(self, name: str) -> Selected:
        """Make a model the active one, for requests without a name, and load it; raises ModelNotFound."""
        return self.collection.select(name)

    def configure(self, name: str, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change request defaults of a model (``None`` removes one); return those in force.

        Raises:
            ModelNotFound, InvalidRequest: there is no such model, or a value is invalid.
        """
        return self.collection.configure(name, defaults)

    def model_log(self, name: str) -> ModelLog:
        """Return the last log lines of a model's worker and the last events of the model; raises ModelNotFound."""
        return self.find(name).log()

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[ModelEvent]]:
        """Subscribe to events of models: first the state of each, then every change, until the host stops."""
        return self.collection.events()

    async def pull(self, reference: str, *, revision: str | None, on_progress: DownloadProgress) -> PulledModel:
        """Download a model from the hub and add it to the host.

        Raises:
            InvalidRequest: not a hub id.
            ModelNotAllowed: ``allow_models`` does not permit it.
            DownloadFailed, EngineMissing: the download failed, or no file of it can be served.
        """
        return await self.collection.added.pull(reference, revision=revision, on_progress=on_progress)

    def open(
        self,
        request: ChatOrCompletion,
        caller: Caller = NOBODY,
        on_queued: OnQueued | None = None,
        *,
        may_relay: bool = False,
        is_streamed: bool = True,
    ) -> AbstractAsyncContextManager[OpenedAnswer]:
        """Answer a request piece by piece; see :meth:`modelhost.chat.answering.Answering.open`."""
        opened = self.answering.open(request, caller, on_queued, may_relay=may_relay, is_streamed=is_streamed)
        return spans.within_request(recorded(self.monitor, opened, lambda: self.model_label(request.model)))

    async def whole(
        self, request: ChatOrCompletion, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> WholeAnswer:
        """Answer a request completely; sessions and errors as in :meth:`open`."""
        with spans.request(), self._recording(request.model):
            return await self.answering.whole(request, caller, on_queued)

    async def perform(
        self, task: Task, request: AnyRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> dict[str, Any]:
        """Run a task and return its answer as an object of OpenAI's API; errors as in :meth:`open`."""
        if isinstance(request, ChatRequest | CompletionRequest):
            return (await self.whole(request, caller, on_queued)).json()
        with spans.request(), self._recording(request.model):
            return await self.answering.call(task, request, caller, on_queued)

    def _recording(self, model: Any) -> recording:
        return recording(self.monitor, lambda: self.model_label(model))

    def model_label(self, name: Any) -> str:
        """Return the main name of a known model, or an empty text: invented names must not become labels of metrics."""
        try:
            return self.find(name).name if name is None or isinstance(name, str) else ""
        except ModelNotFound:
            return ""

    @asynccontextmanager
    async def stream(
        self, task: Task, body: dict[str, Any], on_queued: OnQueued | None = None, *, depth: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Answer a chat or completion, given as a body of OpenAI's API, as server-sent events.

        ``depth`` is the number of tool calls in which the request is nested; otherwise see :meth:`open`.
        """
        request = self._parsed(task, body)
        assert isinstance(request, ChatRequest | CompletionRequest)
        async with (
            self.open(request, Caller(depth=depth), on_queued, may_relay=True) as answer,
            rendered(answer, include_usage=request.include_usage) as blocks,
        ):
            yield blocks

    async def call(
        self, task: Task, body: dict[str, Any], on_queued: OnQueued | None = None, *, depth: int = 0
    ) -> dict[str, Any]:
        """Run any task, given as a body of OpenAI's API; sessions and errors as in :meth:`stream`."""
        with spans.request(), self._recording(body.get("model")):
            return await self.perform(task, self._parsed(task, body), Caller(depth=depth), on_queued)

    async def chat(self, messages: Messages, **parameters: Any) -> dict[str, Any]:
        """Answer ``messages`` (a list, or the text of a user message) with a chat completion object.

        ``parameters`` are fields of the request; with ``session_id``, the host stores the conversation.
        """
        return await self.call("chat", {"messages": as_messages(messages), **parameters})

    async def chat_stream(self, messages: Messages, **parameters: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Answer ``messages`` with a stream of chat completion chunks."""
        request = self._parsed("chat", {"messages": as_messages(messages), **parameters})
        assert isinstance(request, ChatRequest)
        async with self.open(request) as answer:
            assert not isinstance(answer, Relayed)
            async for piece in answer:
                if request.include_usage or not isinstance(piece[0], Usage):
                    yield chunk_of(piece)

    @staticmethod
    def _parsed(task: Task, body: dict[str, Any]) -> AnyRequest:
        if task in OTHER_METHODS:
            raise UnsupportedOperation(f"{task}: its request or answer is no JSON: use Host.{OTHER_METHODS[task]}.")
        return lazy.chat_parse.parsed(task, body)

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Answer a sampling request of an MCP server, with a model that its hints name, or the active one."""
        with spans.request(), self._recording(None):
            return await self.answering.sample(request)


def as_messages(messages: Messages) -> list[Mapping[str, Any]]:
    """Return ``messages`` as a list; a text becomes a user message."""
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)

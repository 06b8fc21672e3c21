"""The host: puts models, workers and turns together. What every face calls; it knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from modelhost import logs
from modelhost.config import environment
from modelhost.config.secrets import secrets_in
from modelhost.config.settings import Settings
from modelhost.engines.load_config import LoadConfig
from modelhost.exchange.caller import NOBODY, Authorise, Caller, admit
from modelhost.exchange.chunk_writing import chunk_of
from modelhost.exchange.events import Relayed, Usage
from modelhost.exchange.requests import AnyRequest, ChatRequest, CompletionRequest
from modelhost.exchange.sse import rendered
from modelhost.exchange.tasks import Task
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.imports import quick_imports
from modelhost.log_file import Clock
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.registry.admission import Admission
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.scheduler import OnQueued
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
from modelhost.redaction import hide
from modelhost.workers.process import ProgressCallback

if TYPE_CHECKING:
    from modelhost.chat.answering import Answering, ChatOrCompletion, OpenedAnswer
    from modelhost.chat.tools.questions import Questions
    from modelhost.persistence.saved_state import Persistence
    from modelhost.state.records import AuditEntry
    from modelhost.state.store import StateStore
    from modelhost.tools.hub import ToolHub
    from modelhost.tools.reading import Reading
    from modelhost.tools.sampling import SamplingAnswer, SamplingRequest
    from modelhost.tools.toolbox import Toolbox

AVAILABLE_STATES = frozenset({State.READY, State.BUSY, State.UNLOADED})
DEFAULT_LOAD = LoadConfig()
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
        self._collection: ModelCollection | None = None
        self._toolbox: Toolbox | None = None
        self._answering: Answering | None = None
        self.authorise: Authorise = admit
        """Asked before every operation, whoever's door it came by."""
        self.waiting = asyncio.Event()
        """Set once :meth:`start` has nothing to do but wait for the worker of a model, or has ended."""

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
        finally:
            self.waiting.set()

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
        loading: asyncio.Future[ModelCollection] | None = None
        try:
            if self.settings.mcp_config is not None:
                # First the servers of tools: they connect while the model is loaded.
                await self._start_tools(Path(self.settings.mcp_config))
            loading = asyncio.ensure_future(
                ModelCollection.start(
                    self.settings,
                    on_download=on_download,
                    on_progress=self._noting_the_wait(on_progress),
                    load=load,
                    launch=launch,
                )
            )
            loading.add_done_callback(lambda _: self.waiting.set())
            await self.waiting.wait()
            await self._prepare()
            self._collection = await loading
        except BaseException:
            await self._give_up(loading)
            raise

    async def _give_up(self, loading: asyncio.Future[ModelCollection] | None) -> None:
        """End what a start that failed has begun."""
        if loading is not None:
            loading.cancel()
            await asyncio.wait([loading])
            if not loading.cancelled() and loading.exception() is None:
                await loading.result().stop(0)
        if self._toolbox is not None:
            await self._toolbox.stop()

    def _noting_the_wait(self, on_progress: ProgressCallback | None) -> ProgressCallback:
        def progressed(fraction: float) -> None:
            self.waiting.set()
            if on_progress is not None:
                on_progress(fraction)

        return progressed

    async def _start_tools(self, path: Path | None) -> None:
        from modelhost.tools.toolbox import Toolbox  # noqa: PLC0415 (see _prepare)

        self._toolbox = await Toolbox.start(path, environment.current(), sampler=self)
        if self.settings.wait_for_tools == "ready":
            await self._toolbox.settled()

    async def _prepare(self) -> None:
        """Import what answers need, which takes as long as a small model takes to load in its own process."""
        with quick_imports():
            from modelhost.chat.answering import Answering  # noqa: PLC0415 (as said)

            _ = self.persistence
        if self.settings.mcp_config is None:
            await self._start_tools(None)
        self._answering = Answering(self.settings, lambda: self.collection, self.toolbox, self.state)

    def apply_settings(self, settings: Settings) -> None:
        """Let clients add the models that ``settings``, in which a few have changed, allow from now on."""
        if self._collection is not None:
            self._collection.added.admission = Admission.of(settings)

    def reread(self) -> None:
        """Read the registry of models and the file of MCP servers anew, without waiting for a change to be noticed."""
        if self._collection is not None:
            self._collection.registry.reread()
        if self._toolbox is not None:
            self._toolbox.reread()

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

    @cached_property
    def state(self) -> StateStore:
        """Sessions, snapshots and the audit log; the database is opened when it is first needed."""
        from modelhost.state.store import StateStore  # noqa: PLC0415 (see _prepare)

        return StateStore(self.settings)

    def note(self, entry: AuditEntry) -> None:
        """Keep in the audit log what somebody had done; never blocks and never raises."""
        self.state.audit.note(entry)

    @cached_property
    def persistence(self) -> Persistence:
        """Saves and restores what the host holds."""
        from modelhost.persistence.saved_state import Persistence  # noqa: PLC0415 (see _prepare)

        return Persistence(self.state, lambda: self.collection)

    @property
    def answering(self) -> Answering:
        """Answers the requests; raises RuntimeError as :attr:`toolbox` does."""
        if self._answering is None:
            raise RuntimeError("a modelhost.Host answers once it is started: use it with `async with`")
        return self._answering

    @property
    def questions(self) -> Questions:
        """What somebody is asked while tools run; raises RuntimeError as :attr:`toolbox` does."""
        return self.answering.questions

    @property
    def collection(self) -> ModelCollection:
        """The models, and what can be done with them.

        Raises:
            RuntimeError: the host has not been started.
        """
        if self._collection is None:
            raise RuntimeError("a modelhost.Host has models once it is started: use it with `async with`")
        return self._collection

    @property
    def toolbox(self) -> Toolbox:
        """The MCP servers with the file that names them; raises RuntimeError as :attr:`collection` does."""
        if self._toolbox is None:
            raise RuntimeError("a modelhost.Host has tools once it is started: use it with `async with`")
        return self._toolbox

    @property
    def tools(self) -> ToolHub:
        """The MCP servers and their tools; raises RuntimeError as :attr:`toolbox` does."""
        return self.toolbox.hub

    @property
    def readings(self) -> Reading:
        """What MCP servers have beside tools; raises RuntimeError as :attr:`toolbox` does."""
        return self.toolbox.reading

    @property
    def models(self) -> tuple[HostedModel, ...]:
        """The models, the active one first."""
        return self.collection.models

    @property
    def is_ready(self) -> bool:
        """Whether a request would be answered: some model is ready, or waits for nothing but a request."""
        return any(model.state in AVAILABLE_STATES for model in self.collection.status().models)

    def find(self, name: str | None) -> HostedModel:
        """Return the model called ``name``; without a name the active one.

        Raises:
            ModelNotFound: with the names that there are.
        """
        return self.collection.find(name)

    def status(self) -> HostStatus:
        """Return the state of all models; :meth:`look` has it know those, too, that were never loaded."""
        return self.collection.status()

    async def refresh_previews(self) -> None:
        """Read what the files of models that are not loaded tell, where that is not known yet; downloads nothing."""
        await self.collection.refresh_previews()

    async def gpu_utilization(self, name: str) -> float | None:
        """Return the part of the last moment in which the GPUs of a model computed, 0 to 1; ``None``: it is on none.

        Raises:
            ModelNotFound: no such model.
        """
        return await self.collection.gpu_utilization(name)

    async def find_or_add(self, name: str, *, on_progress: DownloadProgress) -> HostedModel:
        """Return the model called ``name``; one of the hub, or of this machine, that the host does not have is added,
        as far as ``allow_models`` lets it be, once its files are here.

        Raises:
            ModelNotFound, ModelNotAllowed: no such model, or none that may be added.
            SetupError: it cannot be had, or not be used.
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
        """Have a model loaded; return at once with an estimate, or with ``wait`` when it is ready.

        With ``config`` it is loaded so, anew if it is loaded otherwise: its requests at work end first, unless
        ``force`` cuts them off, and those that wait get the new worker. Unless ``persist``, that ends with its worker,
        or with the next call without ``config``.

        Raises:
            ModelNotFound: no such model.
            InvalidRequest, UnsupportedParameter: the model or its engine cannot be so; it stays as it is.
            InsufficientMemory: it cannot fit.
            ModelhostError: with ``wait``, why it could not be loaded; without, why its files cannot be used. A model
                that was loaded otherwise is loaded again as it was.
        """
        model = self.find(name)
        return await self.collection.load(model, config, persists=persist, force=force, wait=wait)

    async def unload(self, name: str, *, force: bool = False) -> Unloaded:
        """End the worker of a model and return when its memory is back.

        Raises:
            ModelNotFound: no such model.
            ModelBusy: it has requests, and ``force`` is not given.
        """
        return await self.collection.unload(self.find(name), force=force)

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

    async def pull(self, reference: str, *, revision: str | None, on_progress: DownloadProgress) -> PulledModel:
        """Download a model from the hub, and add it to those of the host if it is none.

        Raises:
            InvalidRequest: it is no hub id.
            ModelNotAllowed: it is none of the host's models, and ``allow_models`` does not let it be added.
            DownloadFailed, EngineMissing: the hub did not give it, or has no file that can be served.
        """
        return await self.collection.added.pull(reference, revision=revision, on_progress=on_progress)

    def open(
        self,
        request: ChatOrCompletion,
        caller: Caller = NOBODY,
        on_queued: OnQueued | None = None,
        *,
        may_relay: bool = False,
    ) -> AbstractAsyncContextManager[OpenedAnswer]:
        """Answer a request piece by piece, as :meth:`modelhost.chat.answering.Answering.open` has it."""
        return self.answering.open(request, caller, on_queued, may_relay=may_relay)

    async def whole(
        self, request: ChatOrCompletion, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> WholeAnswer:
        """Answer a request at once; sessions and errors are as :meth:`open` has them."""
        return await self.answering.whole(request, caller, on_queued)

    async def perform(
        self, task: Task, request: AnyRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> dict[str, Any]:
        """Do a task and return its answer as one object of OpenAI's API; errors are as :meth:`open` has them."""
        if isinstance(request, ChatRequest | CompletionRequest):
            return (await self.answering.whole(request, caller, on_queued)).json()
        return await self.answering.call(task, request, caller, on_queued)

    @asynccontextmanager
    async def stream(
        self, task: Task, body: dict[str, Any], on_queued: OnQueued | None = None, *, depth: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Answer a chat completion or completion, as a body of OpenAI's API, as SSE blocks.

        ``depth`` says in how many calls of tools the request stands; otherwise as :meth:`open`.
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
        """Do any task, of a body of OpenAI's API; sessions and errors are as :meth:`stream` has them."""
        return await self.perform(task, self._parsed(task, body), Caller(depth=depth), on_queued)

    async def chat(self, messages: Messages, **parameters: Any) -> dict[str, Any]:
        """Answer ``messages`` (a list of messages, or the text of one by the user) with a chat completion object.

        ``parameters`` are the fields of a request; with ``session_id`` the host remembers what was said before.
        """
        return await self.call("chat", {"messages": as_messages(messages), **parameters})

    async def chat_stream(self, messages: Messages, **parameters: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Answer ``messages`` with chat completion chunks as they come."""
        request = self._parsed("chat", {"messages": as_messages(messages), **parameters})
        assert isinstance(request, ChatRequest)
        async with self.open(request) as answer:
            assert not isinstance(answer, Relayed)
            async for piece in answer:
                if request.include_usage or not isinstance(piece[0], Usage):
                    yield chunk_of(piece)

    @staticmethod
    def _parsed(task: Task, body: dict[str, Any]) -> AnyRequest:
        from modelhost.chat.parsing.parse import parsed  # noqa: PLC0415 (see _prepare)

        return parsed(task, body)

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        """Write for an MCP server, with the model that its hints name, else with the active one."""
        return await self.answering.sample(request)


def log_to_file(settings: Settings, clock: Clock = time.time) -> AbstractContextManager[None]:
    """Have the log in the file that ``settings`` name, if they name one; raises ConfigError if it cannot be written."""
    return logs.to_file(
        settings.log_file, settings.log_level, settings.log_format, with_contents=settings.log_prompts, clock=clock
    )


def as_messages(messages: Messages) -> list[Mapping[str, Any]]:
    """Return ``messages``; a text becomes the one message of a user."""
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)

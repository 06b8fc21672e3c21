"""The host: puts models, workers and turns together. What every face calls; it knows nothing of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from modelhost import logs
from modelhost.chat import requests, tool_choice
from modelhost.chat.generation import Generation
from modelhost.chat.relay import Report, payloads_of
from modelhost.config.settings import Settings
from modelhost.engines.base import Operation
from modelhost.errors import ContextLengthExceeded, ModelNotFound, UnsupportedOperation
from modelhost.models.download import DownloadProgress, StoppableProgress
from modelhost.models.resolve import resolve
from modelhost.models.supervisor import Limits, State, Supervisor
from modelhost.workers.client import Worker
from modelhost.workers.process import ProgressCallback

GENERATING: frozenset[Operation] = frozenset({"chat", "completions"})
PROMPTS: Mapping[Operation, str] = {"chat": "messages", "completions": "prompt"}  # the field that can be too long
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
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
        self._models: dict[str, Supervisor] = {}
        self._names: dict[str, Supervisor] = {}

    async def start(
        self, *, on_download: DownloadProgress | None = None, on_progress: ProgressCallback | None = None
    ) -> None:
        """Find the model, start its worker and return when it can answer.

        Raises:
            SetupError: the model or a setting cannot be used.
            WorkerStartFailed: the engine could not load it.
        """
        logs.setup_if_unset()
        download = StoppableProgress(on_download)
        try:
            resolved = await asyncio.to_thread(resolve, self.settings, on_download=download)
        except asyncio.CancelledError:
            download.stop()
            raise
        limits = Limits(
            max_in_flight=self.settings.max_in_flight,
            queue_size=self.settings.queue_size,
            request_timeout_seconds=self.settings.request_timeout,
            load_timeout_seconds=resolved.load_timeout_seconds,
        )
        if on_progress is not None:
            on_progress(0.0)
        model = Supervisor(spec=resolved.spec, engine=resolved.engine, limits=limits)
        await model.start(on_progress)
        self._models[model.name] = model
        self._names = dict.fromkeys((model.name, *model.spec.aliases), model)

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Let the requests at work finish (``shutdown_timeout`` at most), then end the worker."""
        seconds = self.settings.shutdown_timeout if drain_seconds is None else drain_seconds
        await asyncio.gather(*(model.stop(seconds) for model in self._models.values()))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop(drain_seconds=0 if error is not None else None)

    @property
    def models(self) -> tuple[Supervisor, ...]:
        """The models, the default one first."""
        return tuple(self._models.values())

    @property
    def is_ready(self) -> bool:
        """Whether a model can answer now."""
        return any(model.state is State.READY for model in self._models.values())

    def find(self, name: str | None) -> Supervisor:
        """Return the model called ``name``; without a name the default one.

        Raises:
            ModelNotFound: with the names that there are.
        """
        if name is None:
            return self.models[0]
        model = self._names.get(name)
        if model is None:
            known = ", ".join(sorted(self._names))
            raise ModelNotFound(f'There is no model "{name}" here. There is: {known}.', param="model", model=name)
        return model

    @asynccontextmanager
    async def stream(self, operation: Operation, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Answer a chat completion or completion as SSE blocks; yields when the engine has accepted the request.

        Leaving the context cancels the work.

        Raises:
            ModelhostError: before the first block, or out of the iterator in the middle of the answer.
        """
        requests.validate(operation, body)
        model = self.find(body.get("model"))
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        generation = self._generation(model, operation, body, include_usage=include_usage)
        async with model.lease() as worker, self._measured(model, operation, generation.report):
            _check_can(worker, operation)
            async with generation.stream(worker) as blocks:
                yield blocks

    async def call(self, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        """Answer any operation as one object; raises as :meth:`stream` does."""
        requests.validate(operation, body)
        model = self.find(body.get("model"))
        if operation in GENERATING:
            generation = self._generation(model, operation, body, include_usage=False)
            async with model.lease() as worker, self._measured(model, operation, generation.report):
                _check_can(worker, operation)
                return await generation.whole(worker)
        prepared = model.engine.adapt(operation, self._prepare(model, operation, body))
        async with model.lease() as worker:
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

    def _generation(
        self, model: Supervisor, operation: Operation, body: dict[str, Any], *, include_usage: bool
    ) -> Generation:
        prepared = self._prepare(model, operation, body)
        is_forced = tool_choice.is_forced(prepared)
        adapted = model.engine.adapt(operation, prepared)
        # An engine that cannot force a call asks its model for the call's JSON instead of showing it tools.
        writes_call = is_forced and "tools" not in adapted
        return Generation(operation, adapted, include_usage=include_usage, writes_call=writes_call)

    def _prepare(self, model: Supervisor, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body``, which is left as it is, without what does not concern an engine, and with what all get."""
        requests.validate_fields(operation, body, model.engine)
        prepared = {key: value for key, value in body.items() if value is not None and key not in requests.INERT}
        prepared["model"] = model.name
        if operation == "chat":
            prepared = tool_choice.enforce(prepared)
        if operation in GENERATING:
            prepared |= STREAMED
        return prepared

    @asynccontextmanager
    async def _measured(self, model: Supervisor, operation: Operation, report: Report) -> AsyncIterator[None]:
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
        raise UnsupportedOperation(f"{worker.model} cannot do {operation}; it can do: {can}.", model=worker.model)

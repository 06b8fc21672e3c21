"""The host of this process as what answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces, Relayed
from modelhost.exchange.requests import ChatRequest
from modelhost.mcp_servers.backend import log_call
from modelhost.meters import METERS
from modelhost.operations.administered_host import Named
from modelhost.operations.operation import OnProgress, Operation, P, R, ignored
from modelhost.operations.perform import Performance, PerformingHost, main_name, performing

if TYPE_CHECKING:
    from modelhost.chat.answering import Opened


class ModelWithDefaults(Named, Protocol):
    """A model of the host."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What its requests get where they are silent."""


class AnsweringHost(PerformingHost, Protocol):
    """The host as MCP servers see it. Operations need more of it, as they declare."""

    def find(self, name: str | None) -> ModelWithDefaults: ...

    def open(self, request: ChatRequest, caller: Caller) -> AbstractAsyncContextManager[Opened]:
        """Answer a chat piece by piece; raises a ``ModelhostError``."""


class LocalBackend:
    """Runs everything in ``host``."""

    def __init__(self, host: AnsweringHost) -> None:
        self._host = host

    async def run(self, operation: Operation[Any, P, R], parameters: P, on_progress: OnProgress = ignored) -> R:
        """Run an operation; raises what it raises."""
        return await operation.run(self._host, parameters, on_progress)

    @asynccontextmanager
    async def chat(self, request: ChatRequest, caller: Caller = NOBODY) -> AsyncIterator[Pieces]:
        """Answer a chat piece by piece; raises as :meth:`Host.open` does."""
        async with self._host.open(request, caller) as answer:
            assert not isinstance(answer, Relayed)
            yield answer

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        """Return the request defaults of a model; raises ModelNotFound."""
        return self._host.find(model).defaults

    @asynccontextmanager
    async def performing(self, call: Performance) -> AsyncIterator[None]:
        """Have what is inside done as ``call``, as :func:`modelhost.operations.perform.performing` does."""
        try:
            with performing(self._host, call):
                yield
        finally:
            METERS.mcp_calls.labels(call.operation, call.outcome).inc()
            METERS.mcp_call_seconds.labels(call.operation).observe(call.seconds)
            log_call(call, main_name(self._host, call.named_model))

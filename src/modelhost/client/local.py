"""The client of a host in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from modelhost import lazy
from modelhost.client.host_client import Body
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces, Relayed
from modelhost.exchange.requests import ChatRequest
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress
from modelhost.operations.perform import OperationCall, perform, performing

if TYPE_CHECKING:
    from modelhost.host import Host


class LocalClient:
    """The :class:`~modelhost.client.host_client.HostClient` of ``host``; raises its errors."""

    def __init__(self, host: Host, caller: Caller | None = None) -> None:
        """Take the host and the caller; ``None``: operations are parts of calls that are authorised as a whole."""
        self.host = host
        self._caller = caller

    async def models(self) -> Sequence[str]:
        return [name for model in self.host.models for name in (model.name, *model.names_with_adapters)]

    async def run(self, operation: Operation[P, R], parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        if self._caller is None:
            return await operation.run(self.host, parameters, on_progress)
        return await perform(self.host, operation, parameters, self._caller, on_progress)

    @asynccontextmanager
    async def chat(self, body: Body, caller: Caller = NOBODY) -> AsyncIterator[Pieces]:
        request = lazy.chat_parse.parsed("chat", body)
        assert isinstance(request, ChatRequest)
        async with self.host.open(request, caller) as answer:
            assert not isinstance(answer, Relayed)
            yield answer

    async def complete(self, body: Body) -> Mapping[str, Any]:
        return await self.host.call("chat", dict(body))

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        return self.host.find(model).defaults

    @asynccontextmanager
    async def performing(self, call: OperationCall) -> AsyncIterator[None]:
        with performing(self.host, call):
            yield

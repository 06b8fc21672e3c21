"""The host of this process as what answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from modelhost.errors import ModelNotFound
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces, Relayed
from modelhost.exchange.requests import ChatRequest
from modelhost.host import Host
from modelhost.mcp_servers.backend import Call, Face, log_call
from modelhost.meters import METERS
from modelhost.operations.operation import OnProgress, Operation, P, R, ignored
from modelhost.state.records import AuditEntry


class LocalBackend:
    """Runs everything in ``host``; each call is counted, logged and kept in its audit log."""

    def __init__(self, host: Host, *, face: Face, actor: str) -> None:
        """``actor`` is who calls, where the transport does not know better."""
        self._host = host
        self._face = face
        self._actor = actor

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

    def note(self, call: Call) -> None:
        """Count, log and keep a call."""
        model = self._main_name(call.model)
        METERS.mcp_calls.labels(call.operation, call.outcome).inc()
        METERS.mcp_call_seconds.labels(call.operation).observe(call.seconds)
        log_call(call, self._face, model)
        self._host.state.audit.note(
            AuditEntry(
                at=datetime.now(UTC),
                actor=call.actor or self._actor,
                face=self._face,
                operation=call.operation,
                arguments=call.arguments,
                outcome=call.outcome,
                duration_ms=round(call.seconds * 1000, 1),
                request_id=call.request_id,
                model=model or None,
            )
        )

    def _main_name(self, model: str | None) -> str:
        """Return the main name of a known model, or nothing: names that callers invent must not become labels."""
        if model is None:
            return ""
        try:
            return self._host.find(model).name
        except ModelNotFound:
            return ""

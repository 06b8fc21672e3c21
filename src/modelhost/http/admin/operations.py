"""The administrative operations over HTTP, rendered from their declarations."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from modelhost.errors import InvalidRequest
from modelhost.exchange.caller import Caller
from modelhost.http.edge import ACTOR, REQUEST_ID
from modelhost.http.endpoint import BYTES_PER_MB
from modelhost.http.exchange import Exchange
from modelhost.http.measuring import model_label, note_request
from modelhost.http.traced import note_outcome
from modelhost.logs import get_logger
from modelhost.operations.operation import AnyOperation, Progress, sending_progress
from modelhost.operations.perform import OperationCall, performing
from modelhost.operations.remote_calls import EVENT_STREAM, PROGRESS, RESULT, event_of
from modelhost.operations.table import OPERATIONS

if TYPE_CHECKING:
    from modelhost.host import Host

log = get_logger(__name__)


def administration_routes(host: Host) -> list[Route]:
    """Return the routes of the operations; names of models and tools may hold slashes."""
    return [
        Route(
            operation.route.path_with(lambda name: f"{{{name}:path}}"),
            AdministrationEndpoint(host, operation),
            methods=[operation.route.method],
        )
        for operation in OPERATIONS
        if operation.route is not None
    ]


class AdministrationEndpoint:
    """Answers ``operation``: parameters from the path, and the body or the query; the result as JSON."""

    def __init__(self, host: Host, operation: AnyOperation) -> None:
        self._host = host
        self._operation = operation
        self._limit_bytes = int(host.settings.max_body_mb * BYTES_PER_MB)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, keep_alive_seconds=self._host.settings.keep_alive_interval)
        values: dict[str, Any] = {}

        async def respond() -> None:
            # Reading is a part of it: what cannot be read is noted, too.
            call = OperationCall(
                operation=self._operation.name,
                caller=_caller_of(scope),
                kept=self._operation.audited_in,
                values=values,
            )
            with performing(self._host, call):
                await self._read(exchange, scope, values)
                await self._respond(exchange, scope, self._operation.parse(values))

        await answer(exchange, scope, self._operation.name, respond, lambda: self._model_label(values))

    async def _read(self, exchange: Exchange, scope: Scope, values: dict[str, Any]) -> None:
        """Put the parameters into ``values``, as far as they can be read."""
        if scope["method"] == "POST":
            # A body that is not there is one without parameters: all may stand in the path.
            values.update(_checked_object(await exchange.json(self._limit_bytes, if_empty={})))
        else:
            values.update(_query(scope, self._operation.parameters.has_list))
        _check_distinct(values, scope["path_params"])
        values.update(scope["path_params"])

    async def _respond(self, exchange: Exchange, scope: Scope, parameters: Any) -> None:
        async with exchange.until_disconnected():
            if self._operation.reports_progress and _wants_events(scope):
                await self._stream(exchange, parameters)
                return
            result = await self._operation.run(self._host, parameters)
        await exchange.answer_json(result.model_dump(mode="json"))

    async def _stream(self, exchange: Exchange, parameters: Any) -> None:
        """Answer with events: how far it is, and at the end the result."""

        async def send(progress: Progress) -> None:
            await exchange.write(event_of(PROGRESS, asdict(progress)))

        async with exchange.event_stream():
            async with sending_progress(send) as on_progress:
                result = await self._operation.run(self._host, parameters, on_progress)
            await exchange.write(event_of(RESULT, result.model_dump(mode="json")))

    def _model_label(self, values: Mapping[str, Any]) -> str:
        """Return the main name of a known model, or nothing: names that callers invent must not become labels."""
        name = values.get("model_id", values.get("model"))
        return model_label(self._host, name) if isinstance(name, str) else ""


async def answer(
    exchange: Exchange,
    scope: Scope,
    operation: str,
    respond: Callable[[], Awaitable[None]],
    label: Callable[[], str] = str,
) -> None:
    """Let ``respond`` answer; errors are answered for it, and the request is measured, logged and traced."""
    began = time.perf_counter()
    status, code = await exchange.settle(respond())
    seconds, model = time.perf_counter() - began, label()
    note_request("administration", log, operation=operation, model=model, status=status, code=code, seconds=seconds)
    note_outcome(scope, operation=operation, model=model, status=status, code=code)


def _caller_of(scope: Scope) -> Caller:
    client = scope.get("client")
    return Caller(
        key_name=scope.get(ACTOR, ""),
        address=client[0] if client else None,
        face="http",
        request_id=scope.get(REQUEST_ID),
    )


def _wants_events(scope: Scope) -> bool:
    accepted = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"accept"]
    return any(EVENT_STREAM in value for value in accepted)


def _query(scope: Scope, is_list: Callable[[str], bool]) -> dict[str, str]:
    """Return the parameters of the query. A list may be written in one, or by repeating its name.

    Raises:
        InvalidRequest: a parameter that is no list is given twice.
    """
    found: dict[str, str] = {}
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name in found and not is_list(name):
            raise InvalidRequest(f"{name}: it is given twice.", param=name)
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _check_distinct(values: Mapping[str, Any], path_params: Mapping[str, str]) -> None:
    for name, value in path_params.items():
        if values.get(name, value) != value:
            raise InvalidRequest(f"{name}: the path says {value}, and the body something else.", param=name)


def _checked_object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidRequest("The body has to be a JSON object.")
    return body

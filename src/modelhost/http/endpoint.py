"""What the POST endpoints of all doors share: the body, the caller, notes, disconnects, metrics and the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from msgspec.structs import replace
from starlette.types import Receive, Scope, Send

from modelhost.chat.notes import ON_NOTE
from modelhost.errors import InvalidRequest, ModelRequired
from modelhost.exchange.caller import Caller
from modelhost.exchange.events import Piece, Relayed
from modelhost.exchange.requests import ChatRequest, CompletionRequest
from modelhost.http.edge import ACTOR, REQUEST_ID
from modelhost.http.exchange import CLIENT_DISCONNECTED_STATUS, OPENAI, DoorFormat, Exchange
from modelhost.http.measuring import model_label, note_cancelled, note_request
from modelhost.http.traced import note_outcome
from modelhost.logs import get_logger
from modelhost.monitor import measure
from modelhost.workers.call_depth import DEPTH_HEADER

if TYPE_CHECKING:
    from modelhost.host import Host

log = get_logger(__name__)

BYTES_PER_MB: Final = 1_000_000
DEPTH_HEADER_BYTES: Final = DEPTH_HEADER.lower().encode()
DEPTH_DIGITS: Final = 9  # longer numbers exceed every limit
SESSION_HEADERS: Final[Mapping[bytes, str]] = {
    b"x-session-id": "X-Session-Id",
    b"x-conversation-id": "X-Conversation-Id",
}


class WholeWriter(Protocol):
    """Puts a complete answer together."""

    def add(self, piece: Piece) -> None: ...

    def json(self) -> dict[str, Any]: ...


class Endpoint:
    """An ASGI application that answers one operation of a door; its subclasses define :meth:`respond`."""

    is_of_openai: ClassVar[bool] = False
    """Whether it is an API of OpenAI, or beside these: the setting ``require_model`` is about it."""
    is_for_active_model: ClassVar[bool] = True
    """Whether a request that names no model is one for the active model."""

    def __init__(self, host: Host, operation: str, form: DoorFormat = OPENAI) -> None:
        """``operation`` is its name in logs and metrics."""
        self.host = host
        self.operation = operation
        self._form = form
        self._limit_bytes = int(host.settings.max_body_mb * BYTES_PER_MB)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        interval = self.host.settings.keep_alive_interval
        exchange = Exchange(scope, receive, send, keep_alive_seconds=interval, form=self._form)
        request = measure.begin(self.host.monitor)
        status, code = await exchange.settle(self.work(exchange, scope))
        is_for_none = exchange.model is None and not self.is_for_active_model
        model = "" if is_for_none else model_label(self.host, exchange.model)
        seconds = time.perf_counter() - request.began
        note_request(
            "request",
            self.log_of(scope),
            operation=self.operation,
            model=model,
            status=status,
            code=code,
            seconds=seconds,
        )
        note_cancelled(model, status)
        note_outcome(scope, operation=self.operation, model=model, status=status, code=code)
        is_cancelled = status == CLIENT_DISCONNECTED_STATUS
        self.host.monitor.record(request, model=model, seconds=seconds, code=code, is_cancelled=is_cancelled)

    def log_of(self, _scope: Scope) -> Any:
        """Return the log for the line of a request."""
        return log

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        """Read the body and respond."""
        body = await self.body(exchange)
        async with exchange.until_disconnected():
            await self.respond(exchange, scope, body)

    async def body(self, exchange: Exchange, *, if_empty: Any = None) -> Any:
        """Return the body, decoded JSON; from now on, notes on the request become headers of the answer.

        An empty one is ``if_empty``, if that is given.
        """
        body = await exchange.json(self._limit_bytes, if_empty=if_empty)
        if isinstance(body, dict):
            exchange.model = body.get("model")
            if self.is_of_openai:
                check_model(self.host, exchange.model)
        ON_NOTE.set(exchange.add_note)
        return body

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        """Answer ``body``, decoded JSON; errors are sent in the format of the door."""
        raise NotImplementedError

    async def generate(
        self,
        exchange: Exchange,
        request: ChatRequest | CompletionRequest,
        caller: Caller,
        *,
        block: Callable[[Piece], bytes],
        whole: WholeWriter,
    ) -> None:
        """Answer ``request`` in the format of the door: with what ``block`` makes of each piece, or with ``whole``."""
        opened = self.host.open(request, caller, exchange.add_queue_position, is_streamed=request.is_streamed)
        if not request.is_streamed:
            async with opened as pieces:
                assert not isinstance(pieces, Relayed)
                async for piece in pieces:
                    whole.add(piece)
            await exchange.answer_json(whole.json())
            return
        async with exchange.event_stream(), opened as pieces:
            assert not isinstance(pieces, Relayed)
            async for piece in pieces:
                if written := block(piece):
                    await exchange.write(written)


def check_model(host: Host, name: Any) -> None:
    """Refuse a request that names no model, if ``host`` requires it; raises ModelRequired."""
    if name is None and host.settings.require_model:
        raise ModelRequired("model: name the model; this host requires it. GET /v1/models lists them.", param="model")


def with_session(exchange: Exchange, scope: Scope, body: Any) -> Any:
    """Return ``body`` with the session of a header; the answer has the session in a header.

    Raises:
        InvalidRequest: header and body, or two headers, name different sessions.
    """
    if not isinstance(body, dict):
        return body
    session_id, said = body.get("session_id"), "the field session_id"
    for name, value in scope["headers"]:
        if name not in SESSION_HEADERS or not value:
            continue
        given = _text(value)
        if session_id is not None and session_id != given:
            raise InvalidRequest(
                f"The header {SESSION_HEADERS[name]} and {said} name different sessions; send one of them.",
                param="session_id",
            )
        session_id, said = given, f"the header {SESSION_HEADERS[name]}"
        body = {**body, "session_id": given}
    if isinstance(session_id, str) and session_id.isascii() and session_id.isprintable():
        exchange.headers.append((b"x-session-id", session_id.encode()))
    return body


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")  # as the standard defines headers


def caller_of(scope: Scope) -> Caller:
    """Return the caller of the request; raises like :func:`depth_of`."""
    client = scope.get("client")
    return Caller(address=client[0] if client else None, depth=depth_of(scope))


def operator_of(scope: Scope) -> Caller:
    """Return the caller of an operation, as the audit log names it; raises like :func:`depth_of`."""
    return replace(caller_of(scope), key_name=scope.get(ACTOR, ""), face="http", request_id=scope.get(REQUEST_ID))


def depth_of(scope: Scope) -> int:
    """Return the number of tool calls in which the request is nested.

    Raises:
        InvalidRequest: the header is not a number.
    """
    for name, value in scope["headers"]:
        if name == DEPTH_HEADER_BYTES:
            if not value.isdigit():
                raise InvalidRequest(f"The header {DEPTH_HEADER} has to be a whole number, as the host sent it.")
            return int(value[:DEPTH_DIGITS])
    return 0

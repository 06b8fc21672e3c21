"""The POST endpoints: a small ASGI application for each task, since they are the hot path."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Receive, Scope, Send

from modelhost.chat.notes import ON_NOTE
from modelhost.chat.parsing.parse import parsed
from modelhost.errors import InvalidRequest
from modelhost.exchange.caller import Caller
from modelhost.exchange.requests import AnyRequest, ChatRequest, CompletionRequest
from modelhost.exchange.sse import rendered
from modelhost.exchange.tasks import Task
from modelhost.http.exchange import Exchange
from modelhost.http.measuring import model_label, note_cancelled, note_request
from modelhost.http.openai.answers import detokenized, filled_in, tokenized
from modelhost.logs import get_logger
from modelhost.workers.call_depth import DEPTH_HEADER

if TYPE_CHECKING:
    from modelhost.host import Host

log = get_logger(__name__)

PATHS: Final[Mapping[Task, tuple[str, ...]]] = {
    "chat": ("/v1/chat/completions",),
    "completions": ("/v1/completions",),
    "infill": ("/infill",),
    "embeddings": ("/v1/embeddings",),
    "rerank": ("/v1/rerank", "/rerank"),
    "tokenize": ("/tokenize",),
    "detokenize": ("/detokenize",),
}
"""The paths of each task."""
BYTES_PER_MB = 1_000_000
DEPTH_HEADER_BYTES = DEPTH_HEADER.lower().encode()
SESSION_HEADERS = {b"x-session-id": "X-Session-Id", b"x-conversation-id": "X-Conversation-Id"}
DEPTH_DIGITS = 9  # longer numbers exceed every limit


class OperationEndpoint:
    """Answers ``task`` for the host's models."""

    def __init__(self, host: Host, task: Task) -> None:
        self._host = host
        self._task = task
        self._limit_bytes = int(host.settings.max_body_mb * BYTES_PER_MB)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, keep_alive_seconds=self._host.settings.keep_alive_interval)
        began = time.perf_counter()
        body: Any = None

        async def work() -> None:
            nonlocal body
            body = await exchange.json(self._limit_bytes)
            caller = caller_of(scope)
            if self._task == "chat":
                body = _in_session(exchange, scope, body)
            ON_NOTE.set(exchange.add_note)
            async with exchange.until_disconnected():
                await self._respond(exchange, parsed(self._task, body), caller)

        status, code = await exchange.settle(work())
        self._note(body, status, code, time.perf_counter() - began)

    async def _respond(self, exchange: Exchange, request: AnyRequest, caller: Caller) -> None:
        if isinstance(request, ChatRequest | CompletionRequest) and request.is_streamed:
            opened = self._host.open(request, caller, exchange.add_queue_position, may_relay=True)
            async with (
                exchange.event_stream(),
                opened as answer,
                rendered(answer, include_usage=request.include_usage) as blocks,
            ):
                async for block in blocks:
                    await exchange.write(block)
            return
        whole = await self._host.perform(self._task, request, caller, exchange.add_queue_position)
        if self._task == "tokenize":
            whole = tokenized(whole, self._host.find(request.model))
        elif self._task == "detokenize":
            whole = detokenized(whole)
        elif isinstance(request, CompletionRequest) and self._task == "infill":
            whole = filled_in(whole, request)
        await exchange.answer_json(whole)

    def _note(self, body: Any, status: int, code: str | None, seconds: float) -> None:
        model = model_label(self._host, body.get("model") if isinstance(body, dict) else None)
        note_request("request", log, operation=self._task, model=model, status=status, code=code, seconds=seconds)
        note_cancelled(model, status)


def _in_session(exchange: Exchange, scope: Scope, body: Any) -> Any:
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

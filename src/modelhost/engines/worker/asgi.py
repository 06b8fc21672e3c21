"""The HTTP side of our Python workers: plain ASGI, llama.cpp's paths and errors, the key, clients that disconnect.

Plain, and not a framework, since a worker answers a handful of paths and writes an event for each token.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

import orjson

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = [(b"content-type", b"application/json; charset=utf-8")]
EVENT_TYPE = [(b"content-type", b"text/event-stream")]
METRICS_TYPE = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]
UNSUPPORTED = "unsupported_parameter"
"""The type of an error about a field that the library of a worker does not support."""
PROCESSING = "modelhost.processing"
"""In the ``state`` of a request's scope: a function that tells the client that the work on its request begins."""


class ErrorResponse(Exception):
    """An answer with an error status; ``body`` is its JSON."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def error_body(status: int, kind: str, message: str, **details: Any) -> dict[str, Any]:
    """Return an error object in llama.cpp's form."""
    return {"error": {"code": status, "message": message, "type": kind, **details}}


def invalid(message: str, **details: Any) -> ErrorResponse:
    return ErrorResponse(400, error_body(400, "invalid_request_error", message, **details))


def read_json(raw: bytes) -> dict[str, Any]:
    """Return the body of a request; raises :class:`ErrorResponse` unless it is a JSON object."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise invalid(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise invalid("the body has to be a JSON object")
    return body


async def read_body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def authorization(scope: Scope) -> bytes:
    """Return the value of the request's ``Authorization``; empty without one."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value)
    return b""


async def while_connected(receive: Receive, work: Awaitable[None]) -> bool:
    """Run ``work`` until it is done (true) or the client disconnects (false)."""
    worker = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_until_disconnect(receive))
    await asyncio.wait((worker, watcher), return_when=asyncio.FIRST_COMPLETED)
    finished = worker.done()
    for task in (worker, watcher):
        task.cancel()
    (outcome, _) = await asyncio.gather(worker, watcher, return_exceptions=True)
    if finished and isinstance(outcome, BaseException):
        raise outcome
    return finished


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


class Answering(Protocol):
    """Answers requests that have been read."""

    async def generate(self, path: str, body: dict[str, Any], receive: Receive, send: Send) -> None:
        """Stream the answer to ``body`` at ``path``, one of ``GENERATIONS``.

        Raises:
            ErrorResponse: before the answer has begun.
        """
        ...

    async def tokenize(self, body: dict[str, Any]) -> Any:
        """Return the tokens of a text; raises :class:`ErrorResponse`."""
        ...

    async def detokenize(self, body: dict[str, Any]) -> Any:
        """Return the text of tokens; raises :class:`ErrorResponse`."""
        ...


GENERATIONS = ("/v1/chat/completions", "/v1/completions")


def not_found() -> ErrorResponse:
    """Return the refusal of a path that is not there."""
    return ErrorResponse(404, error_body(404, "not_found_error", "File Not Found"))


class Routes:
    """What the ASGI applications of workers share: the key, their health, their model; ``config`` has key and name."""

    def __init__(self, config: Mapping[str, Any], **facts: Any) -> None:
        """``facts`` of the model are shown with it."""
        self._model = {"id": config["name"], "object": "model", "created": 0, "owned_by": "modelhost", **facts}
        self._key = f"Bearer {config['api_key']}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._route(scope, receive, send)
        except ErrorResponse as refused:
            await send_answer(send, refused.status, JSON_TYPE, orjson.dumps(refused.body))

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if path != "/health" and not hmac.compare_digest(authorization(scope), self._key):
            raise ErrorResponse(401, error_body(401, "authentication_error", "Invalid API Key"))
        if method == "GET" and path == "/health":
            await send_answer(send, 200, JSON_TYPE, orjson.dumps({"status": "ok"}))
        elif method == "GET" and path == "/v1/models":
            await send_answer(send, 200, JSON_TYPE, orjson.dumps({"object": "list", "data": [self._model]}))
        else:
            await self.route(scope, receive, send)

    async def route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what only this worker does; raises :class:`ErrorResponse`."""
        raise NotImplementedError


class WorkerRoutes(Routes):
    """The ASGI application of a worker that writes; ``config`` has its key, its name and its context length.

    ``metrics`` returns its metrics in Prometheus' text format.
    """

    def __init__(
        self, answering: Answering, config: Mapping[str, Any], metrics: Callable[[], str] | None = None
    ) -> None:
        super().__init__(config, meta={"n_ctx": config["context_length"]})
        self._answering = answering
        self._metrics = metrics

    async def route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for text or tokens, or for the metrics."""
        method, path = scope["method"], scope["path"]
        if method == "GET" and path == "/metrics" and self._metrics is not None:
            await send_answer(send, 200, METRICS_TYPE, self._metrics().encode())
            return
        if method == "POST" and path in GENERATIONS:
            await self._answering.generate(path, read_json(await read_body(receive)), receive, send)
            return
        if method == "POST" and path == "/tokenize":
            answer: Any = await self._answering.tokenize(read_json(await read_body(receive)))
        elif method == "POST" and path == "/detokenize":
            answer = await self._answering.detokenize(read_json(await read_body(receive)))
        else:
            raise not_found()
        await send_answer(send, 200, JSON_TYPE, orjson.dumps(answer))

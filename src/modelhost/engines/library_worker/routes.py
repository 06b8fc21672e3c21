"""What a worker's HTTP side is asked: llama.cpp's paths, the key, the news that it is there."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from modelhost.engines.worker_http import (
    JSON_TYPE,
    Receive,
    Refused,
    Scope,
    Send,
    authorization,
    error_body,
    read_body,
    read_json,
    send_answer,
)


class Answering(Protocol):
    """What answers, once a request is read."""

    async def generate(self, path: str, body: dict[str, Any], receive: Receive, send: Send) -> None:
        """Stream the answer to ``body`` at ``path``, one of ``GENERATIONS``.

        Raises:
            Refused: before the answer has begun.
        """
        ...

    async def tokenize(self, body: dict[str, Any]) -> Any:
        """Return the tokens of a text; raises :class:`Refused`."""
        ...

    async def detokenize(self, body: dict[str, Any]) -> Any:
        """Return the text of tokens; raises :class:`Refused`."""
        ...


GENERATIONS = ("/v1/chat/completions", "/v1/completions")


class WorkerRoutes:
    """The ASGI application of a worker of ours; ``config`` has its key, its name and its context length."""

    def __init__(self, answering: Answering, config: Mapping[str, Any]) -> None:
        self._answering = answering
        self._config = config
        self._key = f"Bearer {config['api_key']}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._route(scope, receive, send)
        except Refused as refused:
            await send_answer(send, refused.status, JSON_TYPE, orjson.dumps(refused.body))

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if path != "/health" and not hmac.compare_digest(authorization(scope), self._key):
            raise Refused(401, error_body(401, "authentication_error", "Invalid API Key"))
        if method == "GET" and path == "/health":
            answer: Any = {"status": "ok"}
        elif method == "GET" and path == "/v1/models":
            answer = self._models()
        elif method == "POST" and path in GENERATIONS:
            await self._answering.generate(path, read_json(await read_body(receive)), receive, send)
            return
        elif method == "POST" and path == "/tokenize":
            answer = await self._answering.tokenize(read_json(await read_body(receive)))
        elif method == "POST" and path == "/detokenize":
            answer = await self._answering.detokenize(read_json(await read_body(receive)))
        else:
            raise Refused(404, error_body(404, "not_found_error", "File Not Found"))
        await send_answer(send, 200, JSON_TYPE, orjson.dumps(answer))

    def _models(self) -> Any:
        meta = {"n_ctx": self._config["context_length"]}
        model = {"id": self._config["name"], "object": "model", "created": 0, "owned_by": "modelhost", "meta": meta}
        return {"object": "list", "data": [model]}

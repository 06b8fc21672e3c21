"""The worker's HTTP side: llama.cpp's paths and OpenAI's shapes; generations are always streamed."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from modelhost.engines.library_worker.asked import Asked, Requests
from modelhost.engines.library_worker.batcher import Batcher, Event, Job, Told
from modelhost.engines.library_worker.chunks import AnswerWriter, failure
from modelhost.engines.library_worker.library import Loaded
from modelhost.engines.library_worker.sampling import Sampler
from modelhost.engines.library_worker.text import Vocabulary
from modelhost.engines.worker_http import (
    EVENT_TYPE,
    JSON_TYPE,
    Receive,
    Refused,
    Scope,
    Send,
    authorization,
    error_body,
    invalid,
    read_body,
    read_json,
    send_answer,
    while_connected,
)


class LibraryApp:
    """The ASGI application of one worker. ``config`` is made by :func:`.recipe.launch`."""

    def __init__(self, loaded: Loaded, batcher: Batcher, config: Mapping[str, Any]) -> None:
        self._loaded, self._batcher, self._config = loaded, batcher, config
        self._key = f"Bearer {config['api_key']}".encode()
        self._vocabulary = Vocabulary(loaded.tokenizer)
        requests = Requests(loaded, self._vocabulary, config)
        self._generations: Mapping[str, Callable[[dict[str, Any]], Asked]] = {
            "/v1/chat/completions": requests.chat,
            "/v1/completions": requests.completion,
        }
        self._others: Mapping[str, Callable[[dict[str, Any]], Any]] = {
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
        }

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
            await send_answer(send, 200, JSON_TYPE, orjson.dumps({"status": "ok"}))
        elif method == "GET" and path == "/v1/models":
            await send_answer(send, 200, JSON_TYPE, orjson.dumps(self._models()))
        elif method == "POST" and path in self._generations:
            body = read_json(await read_body(receive))
            # In a thread: a long prompt, or a grammar, takes a while to read.
            asked = await asyncio.to_thread(self._generations[path], body)
            await self._generate(asked, receive, send)
        elif method == "POST" and path in self._others:
            answer = self._others[path](read_json(await read_body(receive)))
            await send_answer(send, 200, JSON_TYPE, orjson.dumps(answer))
        else:
            raise Refused(404, error_body(404, "not_found_error", "File Not Found"))

    async def _generate(self, asked: Asked, receive: Receive, send: Send) -> None:
        events: asyncio.Queue[Event] = asyncio.Queue()
        job = Job(
            prompt=asked.prompt,
            most_tokens=asked.most_tokens,
            sampler=Sampler(asked.sampling, asked.prompt, eos_ids=self._loaded.eos_ids, constraint=asked.constraint),
            eos_ids=self._loaded.eos_ids,
            tell=events.put_nowait,
        )
        self._batcher.submit(job)
        try:
            await while_connected(receive, self._write(AnswerWriter(asked, self._vocabulary), events, send))
        finally:
            self._batcher.cancel(job)

    async def _write(self, writer: AnswerWriter, events: asyncio.Queue[Event], send: Send) -> None:
        first = await events.get()
        if first.failure is not None:
            raise Refused(500, failure(first.failure))
        data = writer.write(first)
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_TYPE})
        while not writer.is_done:
            while not events.empty() and not writer.is_done:
                data += writer.write(events.get_nowait())
            if data and not writer.is_done:
                await send({"type": "http.response.body", "body": data, "more_body": True})
                data = b""
            if not writer.is_done:
                data = writer.write(await events.get())
        await send({"type": "http.response.body", "body": data})

    def _models(self) -> Any:
        meta = {"n_ctx": self._config["context_length"]}
        model = {"id": self._config["name"], "object": "model", "created": 0, "owned_by": "modelhost", "meta": meta}
        return {"object": "list", "data": [model]}

    def _tokenize(self, body: dict[str, Any]) -> Any:
        encode = partial(self._vocabulary.encode, add_special=bool(body.get("add_special")))
        tokens = encode(body["content"], parse_special=body.get("parse_special") is not False)
        if body.get("with_pieces"):
            return {"tokens": [{"id": token, "piece": self._vocabulary.piece(token)} for token in tokens]}
        return {"tokens": tokens}

    def _detokenize(self, body: dict[str, Any]) -> Any:
        tokens = body["tokens"]
        if not all(token < self._loaded.vocab_size for token in tokens):
            raise invalid(f"tokens: at least one of them is no token of {self._config['name']}", param="tokens")
        return {"content": self._vocabulary.decode(tokens)}


class Mailbox:
    """Takes events from the model's thread to those who wait for them in the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Deliver from now on, in the loop that runs; to be called before the first request."""
        self._loop = asyncio.get_running_loop()

    def deliver(self, told: list[Told]) -> None:
        """Called in the model's thread, once for each step: waking the loop is dear."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(_tell, told)


def _tell(told: list[Told]) -> None:
    for job, event in told:
        job.tell(event)

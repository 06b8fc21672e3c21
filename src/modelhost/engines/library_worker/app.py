"""What the worker answers, in OpenAI's shapes; generations are always streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from modelhost.engines.library_worker.asked import Asked, Requests
from modelhost.engines.library_worker.batcher import Batcher, Event, Job, Told
from modelhost.engines.library_worker.chunks import AnswerWriter
from modelhost.engines.library_worker.events import failure
from modelhost.engines.library_worker.library import Loaded
from modelhost.engines.library_worker.sampling import Sampler
from modelhost.engines.library_worker.text import Vocabulary
from modelhost.engines.worker_http import (
    EVENT_TYPE,
    Receive,
    Refused,
    Send,
    invalid,
    while_connected,
)


class LibraryAnswers:
    """The :class:`~.routes.Answering` of one worker. ``config`` is made by :class:`.recipe.LibraryEngine`."""

    def __init__(self, loaded: Loaded, batcher: Batcher, config: Mapping[str, Any]) -> None:
        self._loaded, self._batcher, self._model = loaded, batcher, config["name"]
        self._vocabulary = Vocabulary(loaded.tokenizer)
        self._requests = Requests(loaded, self._vocabulary, config)
        self._read: Mapping[str, Callable[[dict[str, Any]], Asked]] = {
            "/v1/chat/completions": self._requests.chat,
            "/v1/completions": self._requests.completion,
        }

    async def generate(self, path: str, body: dict[str, Any], receive: Receive, send: Send) -> None:
        # In a thread: a long prompt, or a grammar, takes a while to read.
        asked = await asyncio.to_thread(self._read[path], body)
        events: asyncio.Queue[Event] = asyncio.Queue()
        job = Job(
            prompt=asked.prompt,
            most_tokens=asked.most_tokens,
            sampler=Sampler(
                asked.sampling,
                asked.prompt,
                eos_ids=self._loaded.eos_ids,
                stop_ids=asked.stop_ids,
                constraint=asked.constraint,
            ),
            eos_ids=self._loaded.eos_ids | asked.stop_ids,
            tell=events.put_nowait,
            prompt_logprobs=asked.prompt_logprobs,
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

    async def tokenize(self, body: dict[str, Any]) -> Any:
        if "messages" in body:
            tokens = await asyncio.to_thread(self._requests.prompt, body)
        else:
            encode = partial(self._vocabulary.encode, add_special=bool(body.get("add_special")))
            tokens = encode(body["content"], parse_special=body.get("parse_special") is not False)
        if body.get("with_pieces"):
            return {"tokens": [{"id": token, "piece": self._vocabulary.piece(token)} for token in tokens]}
        return {"tokens": tokens}

    async def detokenize(self, body: dict[str, Any]) -> Any:
        tokens = body["tokens"]
        if not all(token < self._loaded.vocab_size for token in tokens):
            raise invalid(f"tokens: at least one of them is no token of {self._model}", param="tokens")
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

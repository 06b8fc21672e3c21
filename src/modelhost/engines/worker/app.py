"""The answers of a worker around a library, in OpenAI's form; generations are always streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from modelhost.engines.worker.asgi import EVENT_TYPE, ErrorResponse, Receive, Send, invalid, while_connected
from modelhost.engines.worker.batcher import Batcher, Event, Job, JobEvent
from modelhost.engines.worker.events import AnswerEvents, error_events, error_payload
from modelhost.engines.worker.library import Cache, Loaded, Scores
from modelhost.engines.worker.reader import ChatReader, StopFinder
from modelhost.engines.worker.requests import GenerationRequest, RequestReader
from modelhost.engines.worker.sampling import Choice, Sampler
from modelhost.engines.worker.template import shows_tools
from modelhost.engines.worker.text import Vocabulary
from modelhost.exchange.tasks import COUNT


class LibraryAnswers:
    """The :class:`~.asgi.Answering` of one worker. ``config`` is made by
    :class:`~modelhost.engines.library_engine.LibraryEngine`."""

    def __init__(self, loaded: Loaded, batcher: Batcher, config: Mapping[str, Any]) -> None:
        self._loaded, self._batcher, self._model = loaded, batcher, config["name"]
        self._vocabulary = Vocabulary(loaded.tokenizer)
        self._requests = RequestReader(loaded, self._vocabulary, config)
        self._read: Mapping[str, Callable[[dict[str, Any]], GenerationRequest]] = {
            "/v1/chat/completions": self._requests.chat,
            "/v1/completions": self._requests.completion,
        }

    def calls_tools(self) -> bool:
        """Whether a chat may have tools; the log gets the reason why not."""
        return shows_tools(self._requests.call_form)

    async def generate(self, path: str, body: dict[str, Any], receive: Receive, send: Send) -> None:
        # In a thread: reading a long prompt, or a grammar, takes a while.
        request = await asyncio.to_thread(self._read[path], body)
        events: asyncio.Queue[Event] = asyncio.Queue()
        job = Job(
            prompt=request.prompt,
            most_tokens=request.most_tokens,
            sampler=Sampler(
                request.sampling,
                request.text_tokens,
                eos_ids=self._loaded.eos_ids,
                stop_ids=request.stop_ids,
                constraint=request.constraint,
            ),
            eos_ids=self._loaded.eos_ids | request.stop_ids,
            on_event=events.put_nowait,
            prompt_logprobs=request.prompt_logprobs,
            prefill=self._prefill_of(request),
        )
        self._batcher.submit(job)
        try:
            await while_connected(receive, self._write(AnswerWriter(request, self._vocabulary), events, send))
        finally:
            self._batcher.cancel(job)

    def _prefill_of(self, request: GenerationRequest) -> Callable[[Cache, Sequence[int]], Scores] | None:
        if not request.images:
            return None
        assert self._loaded.vision is not None
        return partial(self._loaded.vision.prefill, images=request.images)

    async def _write(self, writer: AnswerWriter, events: asyncio.Queue[Event], send: Send) -> None:
        first = await events.get()
        if first.failure is not None:
            raise ErrorResponse(500, error_payload(first.failure))
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
        counted = {}
        if "messages" in body:
            prompt = await asyncio.to_thread(self._requests.prompt, body)
            tokens, counted = prompt.tokens, {COUNT: len(prompt.tokens)} if prompt.images else {}
        else:
            encode = partial(self._vocabulary.encode, add_special=bool(body.get("add_special")))
            tokens = encode(body["content"], parse_special=body.get("parse_special") is not False)
        if body.get("with_pieces"):
            pieces = [{"id": token, "piece": self._vocabulary.piece(token)} for token in tokens]
            return {"tokens": pieces, **counted}
        return {"tokens": tokens, **counted}

    async def detokenize(self, body: dict[str, Any]) -> Any:
        tokens = body["tokens"]
        if not all(token < self._loaded.vocab_size for token in tokens):
            raise invalid(f"tokens: at least one of them is no token of {self._model}", param="tokens")
        return {"content": self._vocabulary.decode(tokens)}


class EventBridge:
    """Delivers events from the model's thread to the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Deliver to the running event loop from now on; to be called before the first request."""
        self._loop = asyncio.get_running_loop()

    def deliver(self, events: list[JobEvent]) -> None:
        """Called in the model's thread, once per step: waking the loop is expensive."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(_dispatch, events)


def _dispatch(events: list[JobEvent]) -> None:
    for job, event in events:
        job.on_event(event)


class AnswerWriter:
    """Writes one answer; ``is_done`` once its end has been written, whether the model or the request ended it."""

    def __init__(self, request: GenerationRequest, vocabulary: Vocabulary) -> None:
        self._request = request
        self._vocabulary = vocabulary
        self._text = vocabulary.stream(request.calling.form.markers if request.calling else frozenset())
        self._stops = StopFinder(request.stops)
        reader = ChatReader(
            calling=request.calling, reads_reasoning=request.reads_reasoning, is_thinking=request.is_thinking
        )
        counting = self._usage if request.continuous_usage else None
        self._events = AnswerEvents(request.kind, request.model, reader, counting)
        self._has_begun = False
        self._tokens = 0
        self._cached = 0
        self.is_done = False

    def write(self, event: Event) -> bytes:
        self._cached = event.cached_tokens
        if event.failure is not None:
            self.is_done = True
            return error_events(event.failure)
        if event.is_prompt and event.choice is not None:
            self._events.add_logprob(self._logprob(event.choice))
            return b""
        data = b"" if self._has_begun else self._events.begin() + self._events.text(self._request.echoed or "")
        self._has_begun = True
        if event.choice is not None:
            self._tokens += 1
            data += self._token(event.choice, is_text=event.is_text)
        if event.finish_reason is not None and not self.is_done:
            data += self._end(self._stops.feed(self._text.finish()) + self._stops.finish(), event.finish_reason)
        return data

    def _token(self, choice: Choice, *, is_text: bool) -> bytes:
        if choice.logprob is not None and (is_text or self._request.echoed is not None):
            self._events.add_logprob(self._logprob(choice))
        if not is_text:
            return b""
        text = self._text.feed(choice.token)
        if self._tokens > self._request.sampling.min_tokens:
            text = self._stops.feed(text)
        data = self._events.text(text)
        if self._stops.is_found or self._events.is_whole:
            data += self._end("", "stop")
        return data

    def _end(self, text: str, finish_reason: str) -> bytes:
        """Write the end; an incomplete marker is text after all."""
        self.is_done = True
        usage = self._usage() if self._request.include_usage else None
        return self._events.text(text) + self._events.end(finish_reason, usage)

    def _usage(self) -> dict[str, Any]:
        prompt = len(self._request.prompt)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._tokens,
            "total_tokens": prompt + self._tokens,
            "prompt_tokens_details": {"cached_tokens": self._cached},
        }

    def _logprob(self, choice: Choice) -> dict[str, Any]:
        top = [self._weighed(token, logprob) for token, logprob in choice.top]
        return {**self._weighed(choice.token, choice.logprob), "top_logprobs": top}

    def _weighed(self, token: int, logprob: float | None) -> dict[str, Any]:
        piece = self._vocabulary.piece(token)
        return {"id": token, "token": piece, "bytes": list(self._vocabulary.piece_bytes(token)), "logprob": logprob}

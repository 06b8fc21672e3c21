"""One answer as the events of OpenAI's streams, made of tokens as they come."""

from __future__ import annotations

import secrets
import time
from typing import Any

import orjson

from modelhost.engines.library_worker.asked import Asked
from modelhost.engines.library_worker.batcher import Event
from modelhost.engines.library_worker.reader import ChatReader
from modelhost.engines.library_worker.sampling import Choice
from modelhost.engines.library_worker.stops import StopFinder
from modelhost.engines.library_worker.text import Vocabulary
from modelhost.engines.worker_http import error_body

DONE = b"data: [DONE]\n\n"


class AnswerWriter:
    """Writes one answer; ``is_done`` once its end has been written, by the model or by what the request says."""

    def __init__(self, asked: Asked, vocabulary: Vocabulary) -> None:
        self._asked = asked
        self._vocabulary = vocabulary
        self._text = vocabulary.stream()
        self._stops = StopFinder(asked.stops)
        self._reader = ChatReader(
            reads_calls=asked.reads_calls,
            reads_reasoning=asked.reads_reasoning,
            is_thinking=asked.is_thinking,
            one_call=asked.one_call,
        )
        self._envelope = _envelope(asked)
        self._logprobs: list[dict[str, Any]] = []
        self._has_begun = False
        self._tokens = 0
        self._cached = 0
        self.is_done = False

    def write(self, event: Event) -> bytes:
        """Return the events for what the model did."""
        self._cached = event.cached_tokens
        if event.failure is not None:
            self.is_done = True
            return b"data: " + orjson.dumps(failure(event.failure)) + b"\n\n" + DONE
        data = (
            b""
            if self._has_begun or self._asked.kind != "chat"
            else self._chunk({"role": "assistant", "content": None})
        )
        self._has_begun = True
        if event.choice is not None:
            self._tokens += 1
            data += self._token(event.choice, is_text=event.is_text)
        if event.finish_reason is not None and not self.is_done:
            data += self._end(self._stops.finish(), event.finish_reason)
        return data

    def _token(self, choice: Choice, *, is_text: bool) -> bytes:
        if not is_text:
            return b""
        if choice.logprob is not None:
            self._logprobs.append(self._logprob(choice))
        data = self._pieces(self._stops.feed(self._text.feed(choice.token)))
        if self._stops.is_found or self._reader.is_done:
            data += self._end("", "stop")
        return data

    def _pieces(self, text: str) -> bytes:
        if not text:
            return b""
        if self._asked.kind != "chat":
            return self._chunk(text)
        return b"".join(self._chunk(delta) for delta in self._reader.feed(text))

    def _end(self, text: str, finish_reason: str) -> bytes:
        """Write the end; what is left in the middle of a marker is text after all."""
        self.is_done = True
        data = self._pieces(text)
        if self._asked.kind == "chat":
            data += b"".join(self._chunk(delta) for delta in self._reader.finish())
            if self._reader.calls and finish_reason == "stop":
                finish_reason = "tool_calls"
        data += self._chunk({} if self._asked.kind == "chat" else "", finish_reason)
        if self._asked.include_usage:
            data += b'data: {"choices":[],"usage":' + orjson.dumps(self._usage()) + self._envelope
        return data + DONE

    def _chunk(self, delta: Any, finish_reason: str | None = None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason}
        choice["delta" if self._asked.kind == "chat" else "text"] = delta
        if self._logprobs:
            choice["logprobs"] = {"content": self._logprobs}
            self._logprobs = []
        return b'data: {"choices":[' + orjson.dumps(choice) + b"]" + self._envelope

    def _usage(self) -> dict[str, Any]:
        prompt = len(self._asked.prompt)
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
        return {"id": token, "token": piece, "bytes": list(piece.encode()), "logprob": logprob}


def failure(message: str) -> dict[str, Any]:
    """Return an error that is the engine's own."""
    return error_body(500, "server_error", message)


def _envelope(asked: Asked) -> bytes:
    """Return what ends every chunk."""
    is_chat = asked.kind == "chat"
    shared = {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(16)}",
        "object": "chat.completion.chunk" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": asked.model,
    }
    return b"," + orjson.dumps(shared)[1:] + b"\n\n"

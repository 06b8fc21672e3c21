"""The bytes of an answer, in the form of llama.cpp's server.

A chunk is ``head + delta + middle + tail``: only the tail (id, time, model) belongs to one request, so all before it is
rendered once per reply, and a batch of chunks is a single join.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from modelhost.engines.scripted.reply import Call, Generation, Reply

DONE = b"data: [DONE]\n\n"
MALFORMED = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"\n\n'
FINGERPRINT = "scripted"
ARGUMENT_PIECE = 8  # characters of a tool call's arguments in one delta


class Chunks:
    """The stream that answers one request."""

    def __init__(self, request: Generation, reply: Reply) -> None:
        self._request, self._finish_reason = request, reply.finish_reason
        self._tail = tail_of(request)
        # One chunk for each choice of each token.
        self._chunks = _text_chunks(request.kind, request.n, request.logprobs, reply.reasoning, reply.content)
        for delta in call_deltas(reply.calls):
            self._chunks += chunks_of(request.kind, request.n, delta)
        self.tokens = len(self._chunks) // request.n

    def opening(self) -> bytes:
        """Return what precedes the first token: in a chat, the role."""
        if self._request.kind != "chat":
            return b""
        return self._join(chunks_of("chat", self._request.n, {"role": "assistant", "content": None}))

    def between(self, first: int, end: int) -> bytes:
        """Return the tokens from ``first`` up to, but not including, ``end``."""
        n = self._request.n
        return self._join(self._chunks[first * n : end * n])

    def closing(self) -> bytes:
        """Return the finish reason, the usage if requested, and the end of the stream."""
        nothing: Any = {} if self._request.kind == "chat" else ""
        body = self._join(chunks_of(self._request.kind, self._request.n, nothing, finish_reason=self._finish_reason))
        if self._request.include_usage:
            body += b'data: {"choices":[],"usage":' + json_bytes(usage_of(self._request, self.tokens)) + self._tail
        return body + DONE

    def _join(self, chunks: Sequence[bytes]) -> bytes:
        return self._tail.join((*chunks, b""))


@lru_cache(maxsize=64)
def _text_chunks(
    kind: str, n: int, logprobs: bool, reasoning: tuple[str, ...], content: tuple[str, ...]
) -> tuple[bytes, ...]:
    chunks: list[bytes] = []
    if kind == "chat":
        for word in reasoning:
            chunks += chunks_of(kind, n, {"reasoning_content": word})
    for word in content:
        marks = {"content": logprobs_of([word])} if logprobs else None
        chunks += chunks_of(kind, n, {"content": word} if kind == "chat" else word, logprobs=marks)
    return tuple(chunks)


def chunks_of(
    kind: str, n: int, delta: Any, *, finish_reason: str | None = None, logprobs: Any = None
) -> tuple[bytes, ...]:
    """Return a chunk without its tail for each of ``n`` choices. ``delta`` is text in a completion."""
    rest: dict[str, Any] = {"delta": delta} if kind == "chat" else {"text": delta}
    if logprobs or kind != "chat":
        rest["logprobs"] = logprobs
    choices = ({"finish_reason": finish_reason, "index": index, **rest} for index in range(n))
    return tuple(b'data: {"choices":[' + json_bytes(choice) + b"]" for choice in choices)


def call_deltas(calls: Iterable[Call]) -> Iterable[dict[str, Any]]:
    """Return the deltas of tool calls: first the name, then the arguments in pieces."""
    for index, call in enumerate(calls):
        opening = {"index": index, "id": _call_id(), "type": "function"}
        yield {"tool_calls": [opening | {"function": {"name": call.name, "arguments": ""}}]}
        for start in range(0, len(call.arguments), ARGUMENT_PIECE):
            piece = call.arguments[start : start + ARGUMENT_PIECE]
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def whole_answer(request: Generation, reply: Reply, tokens: int) -> dict[str, Any]:
    return {
        "choices": [_whole_choice(request, reply, index) for index in range(request.n)],
        **identity_of(request),
        "object": "chat.completion" if request.kind == "chat" else "text_completion",
        "usage": usage_of(request, tokens),
    }


def _whole_choice(request: Generation, reply: Reply, index: int) -> dict[str, Any]:
    marks = {"content": logprobs_of(reply.content)} if request.logprobs else None
    if request.kind != "chat":
        text = "".join(reply.content)
        return {"text": text, "index": index, "logprobs": marks, "finish_reason": reply.finish_reason}
    choice = {"finish_reason": reply.finish_reason, "index": index, "message": _whole_message(reply)}
    return choice | ({"logprobs": marks} if marks else {})


def _whole_message(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.content)}
    if reply.reasoning:
        message["reasoning_content"] = "".join(reply.reasoning)
    if reply.calls:
        message["content"] = None
        message["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}, "id": _call_id()}
            for call in reply.calls
        ]
    return message


def logprobs_of(words: Sequence[str]) -> list[dict[str, Any]]:
    """Return the log probabilities of a script: every word is certain."""
    return [{"token": word, "bytes": list(word.encode()), "logprob": 0.0, "top_logprobs": []} for word in words]


def tail_of(request: Generation) -> bytes:
    kind = "chat.completion.chunk" if request.kind == "chat" else "text_completion"
    return b"," + json_bytes(identity_of(request) | {"object": kind})[1:] + b"\n\n"


def identity_of(request: Generation) -> dict[str, Any]:
    """Return the fields that all chunks of an answer share."""
    prefix = "chatcmpl" if request.kind == "chat" else "cmpl"
    return {
        "created": int(time.time()),
        "id": f"{prefix}-{secrets.token_hex(16)}",
        "model": request.model,
        "system_fingerprint": FINGERPRINT,
    }


def usage_of(request: Generation, tokens: int) -> dict[str, Any]:
    """Return the usage of an answer whose choices have ``tokens`` tokens each."""
    return {
        "completion_tokens": tokens * request.n,
        "prompt_tokens": request.prompt_tokens,
        "total_tokens": tokens * request.n + request.prompt_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _call_id() -> str:
    return secrets.token_hex(16)


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

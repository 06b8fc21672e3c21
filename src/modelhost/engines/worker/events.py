"""The events of OpenAI's streams, made from the text of an answer as it comes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Literal

import orjson

from modelhost.engines.worker.asgi import error_body
from modelhost.engines.worker.reader import ChatReader

DONE = b"data: [DONE]\n\n"


class AnswerEvents:
    """Writes the events of one answer. ``reader`` parses that of a chat; a completion is plain text.

    With ``usage_so_far``, each event contains it.
    """

    def __init__(
        self,
        kind: Literal["chat", "completions"],
        model: str,
        reader: ChatReader,
        usage_so_far: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self._is_chat = kind == "chat"
        self._reader = reader
        self._usage_so_far = usage_so_far
        self._logprobs: list[dict[str, Any]] = []
        self._envelope = _envelope(is_chat=self._is_chat, model=model)

    @property
    def is_whole(self) -> bool:
        """Whether the answer is complete, whatever the model writes next."""
        return self._reader.is_done

    def begin(self) -> bytes:
        return self._chunk({"role": "assistant", "content": None}) if self._is_chat else b""

    def add_logprob(self, logprob: dict[str, Any]) -> None:
        """Add the log probability of a token to the next event."""
        self._logprobs.append(logprob)

    def text(self, text: str) -> bytes:
        if not text:
            return b""
        if not self._is_chat:
            return self._chunk(text)
        return b"".join(self._chunk(delta) for delta in self._reader.feed(text))

    def end(self, finish_reason: str, usage: dict[str, Any] | None) -> bytes:
        """Return the last events, with ``usage`` unless it is ``None``."""
        data = b""
        if self._is_chat:
            data = b"".join(self._chunk(delta) for delta in self._reader.finish())
            if self._reader.calls and finish_reason == "stop":
                finish_reason = "tool_calls"
        data += self._chunk({} if self._is_chat else "", finish_reason)
        if usage is not None:
            data += b'data: {"choices":[],"usage":' + orjson.dumps(usage) + self._envelope
        return data + DONE

    def _chunk(self, delta: Any, finish_reason: str | None = None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason}
        choice["delta" if self._is_chat else "text"] = delta
        if self._logprobs:
            choice["logprobs"] = {"content": self._logprobs}
            self._logprobs = []
        usage = b"" if self._usage_so_far is None else b',"usage":' + orjson.dumps(self._usage_so_far())
        return b'data: {"choices":[' + orjson.dumps(choice) + b"]" + usage + self._envelope


def error_payload(message: str) -> dict[str, Any]:
    return error_body(500, "server_error", message)


def error_events(message: str) -> bytes:
    """Return the last events of an answer that failed."""
    return b"data: " + orjson.dumps(error_payload(message)) + b"\n\n" + DONE


def _envelope(*, is_chat: bool, model: str) -> bytes:
    """Return the end of every chunk."""
    shared = {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(16)}",
        "object": "chat.completion.chunk" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": model,
    }
    return b"," + orjson.dumps(shared)[1:] + b"\n\n"

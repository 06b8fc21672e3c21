"""Short ways to ask a served host something, as the ``openai`` client or as plain HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.support.serving import ServedHost

HELLO = "Hello!"
CHAT = "/v1/chat/completions"


def as_messages(said: str | Sequence[Any]) -> list[Any]:
    return [{"role": "user", "content": said}] if isinstance(said, str) else list(said)


@dataclass(frozen=True)
class Talk:
    """Talks to the first model of ``host``."""

    host: ServedHost

    @property
    def model(self) -> str:
        return "scripted" if self.host.settings.get("engine") == "scripted" else "modelhost-nano"

    def chat(self, said: str | Sequence[Any] = HELLO, **fields: Any) -> ChatCompletion:
        """Ask for a whole answer; at most 16 tokens unless told."""
        fields = {"max_tokens": 16, **fields}
        answer = self.host.client().chat.completions.create(model=self.model, messages=as_messages(said), **fields)
        assert isinstance(answer, ChatCompletion)
        return answer

    def chunks(self, said: str | Sequence[Any] = HELLO, **fields: Any) -> list[ChatCompletionChunk]:
        """Ask for a stream and read it to the end."""
        fields = {"max_tokens": 16, **fields}
        with self.host.client().chat.completions.create(
            model=self.model, messages=as_messages(said), stream=True, **fields
        ) as stream:
            return list(stream)

    def post(self, path: str, body: Any) -> httpx2.Response:
        """Send ``body``, JSON unless it is bytes."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return self.host.http.post(path, content=content, headers={"Content-Type": "application/json"})

    def post_chat(self, said: str | Sequence[Any] = HELLO, **fields: Any) -> httpx2.Response:
        """Ask in plain HTTP."""
        return self.post(CHAT, {"messages": as_messages(said), "max_tokens": 16, **fields})


def text_of(chunks: Sequence[ChatCompletionChunk], index: int = 0) -> str:
    """Return the text of one choice of a stream."""
    choices = (choice for chunk in chunks for choice in chunk.choices if choice.index == index)
    return "".join(choice.delta.content or "" for choice in choices)


def finish_of(chunks: Sequence[ChatCompletionChunk], index: int = 0) -> list[str]:
    """Return the finish reasons of one choice of a stream: there has to be one."""
    choices = (choice for chunk in chunks for choice in chunk.choices if choice.index == index)
    return [choice.finish_reason for choice in choices if choice.finish_reason]


def calls_of(chunks: Sequence[ChatCompletionChunk], index: int = 0) -> list[tuple[str, str]]:
    """Return names and arguments of the calls in a stream."""
    calls: list[list[str]] = []
    for chunk in chunks:
        for choice in chunk.choices:
            for piece in (choice.index == index and choice.delta.tool_calls) or []:
                if piece.index == len(calls):
                    assert piece.id
                    calls.append(["", ""])
                assert piece.function is not None
                calls[piece.index][0] += piece.function.name or ""
                calls[piece.index][1] += piece.function.arguments or ""
    return [(name, arguments) for name, arguments in calls]


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """Return the error object of ``response``; it has to be a whole one."""
    error: dict[str, Any] = response.json()["error"]
    check_error(error)
    return error


def check_error(error: dict[str, Any]) -> None:
    """Check that ``error`` has everything that an error object has to have."""
    assert set(error) == {"message", "type", "param", "code", "source", "details"}
    assert error["message"]
    assert isinstance(error["code"], str)
    assert error["type"] in {"invalid_request_error", "authentication_error", "service_unavailable", "server_error"}
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["source"]["kind"] in {"host", "worker"}
    if error["source"]["kind"] == "worker":
        assert error["source"]["model"]
        assert error["source"]["worker"]

"""The answers of remote servers to chats and completions, in the shape in which OpenAI streams them.

What is read of servers that follow it loosely: content in parts, calls as :mod:`.remote_calls` has them, a whole answer
where a stream was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from modelhost.engines.remote_calls import RemoteCalls
from modelhost.exchange.tasks import Task

MALFORMED: Final = "malformed_event"
"""The type of an error that tells of an answer that cannot be read."""
NO_SHAPE: Final = "a piece of its answer has no shape that is known"


class RemoteAnswer:
    """Reads one answer: its chunks in the order in which they come, or all of it at once."""

    def __init__(self, task: Task, *, model: str) -> None:
        """Take what was asked for, and the model's name here."""
        self._task = task
        self._model = model
        self._calls: dict[int, RemoteCalls] = {}
        self._unfinished: set[int] = set()
        self._finished: set[int] = set()

    @property
    def is_complete(self) -> bool:
        """Whether each choice that has begun has said why it ends."""
        return bool(self._finished) and not self._unfinished

    def chunk(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the next chunk, which may be changed in place, with the host's name for the model."""
        if "model" in payload:
            payload["model"] = self._model
        if "error" in payload and not payload["error"]:  # some say in each chunk that there is none
            del payload["error"]
        try:
            for position, choice in enumerate(payload.get("choices") or ()):
                self._read(position, choice)
        except (AttributeError, TypeError, ValueError):  # something in it is of another kind than it has to be
            return _malformed(NO_SHAPE)
        return payload

    def whole(self, payload: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the chunks of an answer that came as one object; an error in it as one."""
        if payload.get("error"):
            return [dict(payload)]
        if not payload.get("choices"):
            return [_malformed("its answer has no choices")]
        envelope = {key: value for key, value in payload.items() if key not in {"choices", "usage"}}
        if self._task == "chat":
            envelope["object"] = "chat.completion.chunk"
        try:
            choices = [_as_last(choice) for choice in payload["choices"]]
        except (AttributeError, TypeError):
            return [_malformed(NO_SHAPE)]
        chunks = [self.chunk({**envelope, "choices": choices})]
        if payload.get("usage"):
            chunks.append(self.chunk({**envelope, "choices": [], "usage": payload["usage"]}))
        return chunks

    def _read(self, position: int, choice: dict[str, Any]) -> None:
        index = choice["index"] = choice["index"] if isinstance(choice.get("index"), int) else position
        if self._task == "chat" and choice.get("message") and index not in self._calls:
            choice.update(_as_last(choice))  # in the place of pieces; behind them it would be the answer once more
        choice.pop("message", None)
        choice["finish_reason"] = choice.get("finish_reason") or None  # some say "" for not yet
        (self._finished if choice["finish_reason"] else self._unfinished).add(index)
        self._unfinished -= self._finished
        if self._task == "chat":
            self._read_delta(choice, self._calls.setdefault(index, RemoteCalls()))
        else:
            choice["text"] = choice.get("text") or ""

    def _read_delta(self, choice: dict[str, Any], calls: RemoteCalls) -> None:
        delta = choice["delta"] = choice.get("delta") or {}
        content = delta.get("content")
        if not isinstance(content, str | list | None):
            raise TypeError(content)
        if isinstance(content, list):
            delta["content"] = _text_in(content, "text")
            if thoughts := _text_in(content, "thinking"):
                delta["reasoning_content"] = thoughts
        if delta.get("tool_calls"):
            delta["tool_calls"] = calls.read(delta["tool_calls"])


def _malformed(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": MALFORMED}}


def _as_last(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return a choice of a whole answer as the only piece of a stream."""
    last = {key: value for key, value in choice.items() if key != "message"}
    message = {key: value for key, value in (choice.get("message") or {}).items() if value is not None}
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [{**call, "index": position} for position, call in enumerate(calls)]
    last["finish_reason"] = choice.get("finish_reason") or ("tool_calls" if calls else "stop")
    return {**last, "delta": message} if "message" in choice else last


def _text_in(parts: Iterable[Any], kind: str) -> str:
    """Return the texts of ``kind`` in content that is a list; a part that holds parts is all of one kind."""
    texts = []
    for part in parts:
        text = part.get(kind) if isinstance(part, dict) else part if kind == "text" else ""
        texts.append(_text_in(text, "text") if isinstance(text, list) else text or "")
    return "".join(texts)

"""The answers of remote servers to chats and completions, in the form of OpenAI's streams.

Servers that follow it loosely send content in parts, or a whole answer instead of a stream. OpenAI's API
numbers the calls of an answer; such servers give all of them the number 0, none or null, leave out ids, or send the
arguments as an object instead of as the text of one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from modelhost.exchange.tasks import Task


@dataclass(frozen=True, slots=True)
class _CallPiece:
    """A part of one call, as a server sends it; fields that it does not send are empty or ``None``."""

    index: int | None
    id: str | None
    name: str
    arguments: str
    """The input, if it is a custom tool that is called."""
    is_custom: bool = False

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> _CallPiece:
        index, custom = entry.get("index"), entry.get("custom")
        called = custom or entry.get("function") or {}
        return cls(
            index=index if isinstance(index, int) else None,
            id=entry.get("id") or None,
            name=called.get("name") or "",
            arguments=_as_text(called.get("input" if custom else "arguments")),
            is_custom=bool(custom),
        )

    def delta(self, **named: str) -> dict[str, Any]:
        """Return its part of the function or custom tool, in OpenAI's form."""
        return (
            {"custom": {**named, "input": self.arguments}}
            if self.is_custom
            else {"function": {**named, "arguments": self.arguments}}
        )


@dataclass(slots=True)
class _Call:
    """A call that has begun, with the parts received so far."""

    index: int
    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def is_complete_before(self, piece: _CallPiece) -> bool:
        """Whether ``piece``, which could continue this call, begins another one."""
        if not (piece.name and self.name):  # servers that do name every piece repeat a name, and never leave it out
            return False
        if piece.id is not None and self.id is not None and piece.id != self.id:
            return True
        written = "".join(self.arguments)
        if _is_object(written):
            return bool(piece.arguments) or piece.name != self.name or piece.id is None
        is_split = piece.index is not None and not written and not piece.arguments
        return piece.name != self.name and not is_split

    def append(self, piece: _CallPiece) -> dict[str, Any]:
        """Add ``piece`` and return the new part as a delta."""
        named = {}
        if piece.name not in {"", self.name}:
            named["name"] = piece.name
            self.name += piece.name
        self.id = self.id or piece.id
        self.arguments.append(piece.arguments)
        return {"index": self.index, **piece.delta(**named)}


class RemoteCalls:
    """Reads the pieces of the calls of one choice in their order."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def read(self, entries: Iterable[Any]) -> list[dict[str, Any]]:
        """Return entries of ``tool_calls`` in OpenAI's form: the first entry of a call has its id and its name.

        A name with a new id, or after complete arguments, begins a new call, whatever its index is.
        """
        return [self._read(entry) for entry in entries if isinstance(entry, dict)]

    def _read(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        piece = _CallPiece.of(entry)
        call = self._call_of(piece)
        if call is None or call.is_complete_before(piece):
            call = _Call(index=len(self._calls))
            self._calls.append(call)
            delta = {**entry, **self._begun(call, piece)}
        else:
            delta = call.append(piece)
        if piece.index is not None:
            self._by_index[piece.index] = call
        if piece.id is not None:
            self._by_id[piece.id] = call
        return delta

    def _call_of(self, piece: _CallPiece) -> _Call | None:
        """Return the call that ``piece`` may continue."""
        if piece.index is not None and piece.index not in self._by_index:
            return None
        if piece.id is not None and piece.id in self._by_id:
            return self._by_id[piece.id]
        if piece.index is not None:
            return self._by_index[piece.index]
        return self._calls[-1] if self._calls else None

    def _begun(self, call: _Call, piece: _CallPiece) -> dict[str, Any]:
        is_new_id = piece.id is not None and piece.id not in self._by_id
        call.append(piece)
        return {
            "index": call.index,
            "id": piece.id if is_new_id else f"call_{secrets.token_hex(12)}",
            "type": "custom" if piece.is_custom else "function",
            **piece.delta(name=piece.name),
        }


def _as_text(arguments: Any) -> str:
    """Return the arguments of a call as the JSON text that OpenAI sends."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


MALFORMED: Final = "malformed_event"
"""The type of an error about an answer that cannot be read."""
NO_SHAPE: Final = "a piece of its answer has no shape that is known"


class RemoteAnswer:
    """Reads one answer: its chunks in their order, or the whole answer."""

    def __init__(self, task: Task, *, model: str) -> None:
        """Take the task of the request, and the model's name here."""
        self._task = task
        self._model = model
        self._calls: dict[int, RemoteCalls] = {}
        self._unfinished: set[int] = set()
        self._finished: set[int] = set()

    @property
    def is_complete(self) -> bool:
        """Whether each choice that has begun has a finish reason."""
        return bool(self._finished) and not self._unfinished

    def chunk(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the next chunk, which may be changed in place, with the host's name for the model."""
        if "model" in payload:
            payload["model"] = self._model
        if "error" in payload and not payload["error"]:  # some servers send an empty one in each chunk
            del payload["error"]
        try:
            for position, choice in enumerate(payload.get("choices") or ()):
                self._read(position, choice)
        except (AttributeError, TypeError, ValueError):  # something in it is of another kind than it has to be
            return _malformed(NO_SHAPE)
        return payload

    def whole(self, payload: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the chunks of an answer that came as one object, which may be an error."""
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
            choice.update(_as_last(choice))  # in place of pieces; after them it would repeat the answer
        choice.pop("message", None)
        choice["finish_reason"] = choice.get("finish_reason") or None  # some servers send "" until the end
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
    """Return the texts of ``kind`` in content that is a list; a part that contains parts has one kind."""
    texts = []
    for part in parts:
        text = part.get(kind) if isinstance(part, dict) else part if kind == "text" else ""
        texts.append(_text_in(text, "text") if isinstance(text, list) else text or "")
    return "".join(texts)

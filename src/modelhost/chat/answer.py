"""A whole answer put together from the pieces of a streamed one."""

from __future__ import annotations

from typing import Any


class Answer:
    """Collects the decoded chunks of one answer; :meth:`whole` is what a request without ``stream`` gets."""

    def __init__(self, object_name: str) -> None:
        self._object = object_name
        self._envelope: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: dict[str, Any]) -> None:
        """Take one chunk in."""
        for key, value in chunk.items():
            if key != "choices" and value is not None:
                self._envelope[key] = value
        for piece in chunk["choices"]:
            choice = self._choices.setdefault(piece["index"], {"index": piece["index"], "finish_reason": None})
            if "delta" in piece:
                _extend_message(choice.setdefault("message", {"role": "assistant", "content": None}), piece["delta"])
            elif "text" in piece:
                choice["text"] = choice.get("text", "") + piece["text"]
            _extend_logprobs(choice, piece.get("logprobs"))
            if piece.get("finish_reason") is not None:
                choice["finish_reason"] = piece["finish_reason"]

    def whole(self) -> dict[str, Any]:
        """Return the answer in OpenAI's shape."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            choice.setdefault("logprobs", None)
            message = choice.get("message")
            if message is not None and message["content"] is None and not message.get("tool_calls"):
                message["content"] = ""
        return {**self._envelope, "object": self._object, "choices": choices}


def _extend_message(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if value is None:
            continue
        if key == "tool_calls":
            for piece in value:
                _extend_tool_call(message.setdefault("tool_calls", []), piece)
        elif key == "role":
            message["role"] = value
        elif isinstance(value, str):
            message[key] = (message.get(key) or "") + value
        else:
            message[key] = value


def _extend_tool_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Add one incremental piece; the index is for the stream only and does not stand in a whole answer."""
    index = piece.get("index", 0)
    while len(calls) <= index:
        calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
    call = calls[index]
    if piece.get("id"):
        call["id"] = piece["id"]
    function = piece.get("function") or {}
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def _extend_logprobs(choice: dict[str, Any], logprobs: dict[str, Any] | None) -> None:
    if not logprobs:
        return
    whole = choice.setdefault("logprobs", {})
    for key, values in logprobs.items():
        if isinstance(values, list):
            whole.setdefault(key, []).extend(values)

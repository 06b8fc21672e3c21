"""The calls in a conversation, in the form that the chat template of a model expects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from modelhost.engines.tool_calls.calls import SHORT_ID


def with_object_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    return _changed(message, _object_of)


def with_text_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    return _changed(message, lambda given: given if isinstance(given, str) else json.dumps(_object_of(given)))


def with_short_ids(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``message`` with ids of calls of nine letters and digits; equal ids stay equal."""
    changed = dict(message)
    if "tool_calls" in message:
        changed["tool_calls"] = [{**call, "id": _short_id(call.get("id"))} for call in message["tool_calls"]]
    if "tool_call_id" in message:
        changed["tool_call_id"] = _short_id(message["tool_call_id"])
    return changed


def with_numbered_ids(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return ``messages`` with the ids ``functions.NAME:NUMBER``, numbered through the conversation, for their calls.

    The template of Kimi K2 shows only the id of a call, which contains its name, and the model writes it in this form:
    https://github.com/MoonshotAI/Kimi-K2/blob/main/docs/tool_call_guidance.md (vLLM counts them so, too).
    """
    changed: list[dict[str, Any]] = []
    ids: dict[Any, str] = {}
    count = 0
    for message in messages:
        calls = []
        for call in message.get("tool_calls") or ():
            ids[call.get("id")] = number = f"functions.{call['function']['name']}:{count}"
            calls.append({**call, "id": number})
            count += 1
        given = message.get("tool_call_id")
        result = {"tool_call_id": ids[given]} if given in ids else {}
        changed.append({**message, **({"tool_calls": calls} if calls else {}), **result})
    return changed


def split_parallel_calls(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ``messages`` with one call in each, followed by its result."""
    changed: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []  # the calls of the last message that has several, without their results
    for message in messages:
        calls = message.get("tool_calls") or ()
        if len(calls) > 1:
            changed += waiting
            waiting = [
                {**message, "content": "" if number else message["content"], "tool_calls": [call]}
                for number, call in enumerate(calls)
            ]
            continue
        if message["role"] == "tool":
            number = message.get("tool_call_id")
            changed += [each for each in waiting if each["tool_calls"][0].get("id") == number]
            waiting = [each for each in waiting if each["tool_calls"][0].get("id") != number]
        else:
            changed += waiting
            waiting = []
        changed.append(message)
    return changed + waiting


def _changed(message: Mapping[str, Any], arguments_of: Any) -> dict[str, Any]:
    if "tool_calls" not in message:
        return dict(message)
    calls = [
        {**call, "function": {**call["function"], "arguments": arguments_of(call["function"].get("arguments"))}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def _object_of(arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = {"text": arguments} if arguments.strip() else {}
    if isinstance(arguments, dict):
        return arguments
    return {} if arguments is None else {"value": arguments}


def _short_id(given: Any) -> str:
    text = str(given)
    if len(text) == SHORT_ID and text.isascii() and text.isalnum():
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:SHORT_ID]

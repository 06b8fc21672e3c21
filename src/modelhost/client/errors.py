"""Converts OpenAI error objects of a host back into the errors that it raised."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from modelhost.errors import HostUnreachable, ModelhostError, Unavailable, WorkerError


def error_in(answer: Any) -> ModelhostError | None:
    """Return the error in a decoded JSON answer, or ``None``.

    An error with an unknown code keeps its message.
    """
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if not error:
        return None
    if not isinstance(error, Mapping):
        return HostUnreachable(str(error))
    leaf = _LEAVES.get(str(error.get("code")), HostUnreachable)
    found = _made(leaf, str(error.get("message") or error), _mapping(error.get("source")))
    found.details = _mapping(error.get("details"))
    found.param = error["param"] if isinstance(error.get("param"), str) else None
    return found


def error_of_status(url: str, status: int, body: bytes, retry_after: str | None = None) -> ModelhostError:
    """Return the error of an answer with a status of 400 or more; ``retry_after`` is the header."""
    try:
        error = error_in(json.loads(body))
    except ValueError:
        error = None
    if isinstance(error, Unavailable) and retry_after is not None and retry_after.isdigit():
        error.retry_after_seconds = int(retry_after)
    return error or HostUnreachable(f"{url} answered with HTTP status {status}; is it a modelhost?")


def _made(leaf: type[ModelhostError], message: str, source: Mapping[str, Any]) -> ModelhostError:
    if not issubclass(leaf, WorkerError):
        return leaf(message)
    return leaf(message, model=str(source.get("model", "")), worker=str(source.get("worker", "")))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _leaves(branch: type[ModelhostError]) -> Iterator[type[ModelhostError]]:
    for below in branch.__subclasses__():
        if "code" in vars(below):
            yield below
        yield from _leaves(below)


_LEAVES: Mapping[str, type[ModelhostError]] = {leaf.code: leaf for leaf in _leaves(ModelhostError)}
"""The errors of a host by their codes."""

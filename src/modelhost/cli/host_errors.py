"""OpenAI error objects of a host, turned back into the error that the host raised."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from modelhost.errors import HostUnreachable, ModelhostError, RequestError, ToolError, Unavailable, WorkerError


def error_in(answer: Any) -> ModelhostError | None:
    """The error in a decoded JSON answer, ``None`` when it holds none.

    An error with a code that this version does not know keeps its message.
    """
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if not error:
        return None
    if not isinstance(error, Mapping):
        return HostUnreachable(str(error))
    message = str(error.get("message") or error)
    leaf = {leaf.code: leaf for leaf in _leaves()}.get(str(error.get("code")), HostUnreachable)
    if not issubclass(leaf, WorkerError):
        return leaf(message)
    source = error.get("source")
    known = source if isinstance(source, Mapping) else {}
    return leaf(message, model=str(known.get("model", "")), worker=str(known.get("worker", "")))


def error_of_status(url: str, status: int, body: bytes) -> ModelhostError:
    """The error of an answer with an HTTP status of 400 or more."""
    try:
        error = error_in(json.loads(body))
    except ValueError:
        error = None
    return error or HostUnreachable(f"{url} answered with HTTP status {status}; is it a modelhost?")


def _leaves() -> Iterator[type[ModelhostError]]:
    """The errors that a host answers with."""
    for family in (RequestError, Unavailable, WorkerError, ToolError):
        yield from family.__subclasses__()

"""Operations over HTTP: the request that a client sends to a host, and its result and progress in the answer."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote, urlencode

from modelhost.errors import HostUnreachable
from modelhost.operations.models import LIST
from modelhost.operations.operation import AnyOperation, HttpRoute, Operation, P, Progress, R

EVENT_STREAM: Final = "text/event-stream"
"""Accepted by clients that want the progress of an operation that reports it."""
PROGRESS: Final = "progress"
RESULT: Final = "result"
"""The names of the events of such an answer; an error has none."""

LIST_ROUTE: Final = HttpRoute(method="GET", path="/v1/models")
"""The route of :data:`LIST`, which is served in OpenAI's format."""


def request_of(operation: Operation[P, R], parameters: P) -> tuple[str, str, dict[str, Any] | None]:
    """Return method, path and body of a call; a GET or DELETE has parameters outside of its path in the query."""
    route = _route_of(operation)
    values = parameters.model_dump(exclude_unset=True, mode="json")
    path = route.path_with(lambda name: quote(values.pop(name)))
    if route.method == "POST":
        return route.method, path, values
    query = urlencode({name: _as_text(value) for name, value in values.items() if value is not None})
    return route.method, f"{path}?{query}" if query else path, None


def result_in(operation: Operation[P, R], answer: Any, url: str) -> R:
    """Return the result of ``operation`` in the decoded ``answer`` of the host at ``url``.

    Raises:
        HostUnreachable: the answer is something else.
    """
    if operation is LIST and isinstance(answer, dict):
        answer = {"models": answer.get("data")}
    try:
        return operation.result.model_validate(answer)
    except ValueError as error:
        raise HostUnreachable(
            f"{url} answered something else than the result of {operation.name}; is it a modelhost of this version?"
        ) from error


def event_of(name: str, data: Any) -> bytes:
    """Return one event of an answer with progress."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(data).encode())


def progress_in(data: Any) -> Progress:
    """Return the progress in the ``data`` of an event; missing fields are unknown."""
    given = data if isinstance(data, dict) else {}
    fraction = given.get("fraction")
    return Progress(
        fraction=fraction if isinstance(fraction, int | float) else None, message=str(given.get("message", ""))
    )


def _route_of(operation: AnyOperation) -> HttpRoute:
    route = LIST_ROUTE if operation is LIST else operation.route
    assert route is not None, f"{operation.name} is not served"
    return route


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value

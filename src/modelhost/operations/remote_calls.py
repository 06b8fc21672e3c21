"""An operation as a request to a running host: what every client of one sends, and how it reads the answer."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote, urlencode

from modelhost.errors import HostUnreachable
from modelhost.operations.models import LIST
from modelhost.operations.operation import AnyOperation, HttpRoute, Operation, P, Progress, R

EVENT_STREAM: Final = "text/event-stream"
"""What a client accepts that wants to be told how far an operation is that tells so."""
PROGRESS: Final = "progress"
RESULT: Final = "result"
"""The events of such an answer, by their names; an error has none."""

LIST_ROUTE: Final = HttpRoute(method="GET", path="/v1/models")
"""Of :data:`LIST`, which is served in OpenAI's shape."""


def request_of(operation: Operation[P, R], parameters: P) -> tuple[str, str, dict[str, Any] | None]:
    """Method, path and body of a call: what the path does not name is in the body, or in the query of others."""
    route = _route_of(operation)
    values = parameters.model_dump(exclude_unset=True, mode="json")
    path = route.path_with(lambda name: quote(values.pop(name)))
    if route.method == "POST":
        return route.method, path, values
    query = urlencode({name: _as_text(value) for name, value in values.items() if value is not None})
    return route.method, f"{path}?{query}" if query else path, None


def result_in(operation: Operation[P, R], answer: Any, url: str) -> R:
    """The result of ``operation`` in the decoded ``answer`` of the host at ``url``.

    Raises:
        HostUnreachable: it is something else.
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
    """Return one event of the answer of an operation that tells how far it is."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(data).encode())


def progress_in(data: Any) -> Progress:
    """Return the progress that the ``data`` of an event tells; what is missing there is unknown."""
    told = data if isinstance(data, dict) else {}
    fraction = told.get("fraction")
    return Progress(
        fraction=fraction if isinstance(fraction, int | float) else None, message=str(told.get("message", ""))
    )


def _route_of(operation: AnyOperation) -> HttpRoute:
    route = LIST_ROUTE if operation is LIST else operation.route
    assert route is not None, f"{operation.name} is not served"
    return route


def _as_text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value

"""An operation as a request to a running host: what every client of one sends, and how it reads the answer."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlencode

from modelhost.errors import HostUnreachable
from modelhost.operations.models import LIST
from modelhost.operations.operation import AnyOperation, HttpRoute, Operation, P, R

LIST_ROUTE: Final = HttpRoute(method="GET", path="/v1/models")
"""Of :data:`LIST`, which is served in OpenAI's shape."""


def request_of(operation: Operation[Any, P, R], parameters: P) -> tuple[str, str, dict[str, Any] | None]:
    """Method, path and body of a call: what the path does not name is in the body, or in the query of others."""
    route = _route_of(operation)
    values = parameters.model_dump(exclude_unset=True, mode="json")
    path = route.path_with(lambda name: quote(values.pop(name)))
    if route.method == "POST":
        return route.method, path, values
    query = urlencode({name: _as_text(value) for name, value in values.items() if value is not None})
    return route.method, f"{path}?{query}" if query else path, None


def result_in(operation: Operation[Any, P, R], answer: Any, url: str) -> R:
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


def _route_of(operation: AnyOperation) -> HttpRoute:
    route = LIST_ROUTE if operation is LIST else operation.route
    assert route is not None, f"{operation.name} is not served"
    return route


def _as_text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value

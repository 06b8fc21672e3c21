"""Metrics and the log line of a finished request, for all doors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelhost.errors import ModelNotFound
from modelhost.http.exchange import CLIENT_DISCONNECTED_STATUS
from modelhost.meters import METERS, labelled_counter, labelled_histogram

if TYPE_CHECKING:
    from modelhost.host import Host


def note_request(  # noqa: PLR0913 (all are facts of one request)
    event: str, log: Any, *, operation: str, model: str, status: int, code: str | None, seconds: float
) -> None:
    """Count a request and log it as ``event``.

    ``model`` is a main name of :func:`model_label`, ``code`` that of the error it ended with.
    """
    labelled_counter(METERS.requests, model, operation, str(status)).inc()
    labelled_histogram(METERS.request_seconds, model, operation).observe(seconds)
    if code is not None:
        METERS.errors.labels(model, code).inc()
    log.info(event, operation=operation, model=model, status=status, code=code, seconds=round(seconds, 4))


def note_cancelled(model: str, status: int) -> None:
    """Count an answer whose client disconnected."""
    if status == CLIENT_DISCONNECTED_STATUS:
        METERS.cancelled.labels(model).inc()


def model_label(host: Host, name: Any) -> str:
    """Return the main name of a known model, of the active one for ``None``, or an empty text.

    Invented names must not become labels.
    """
    if name is not None and not isinstance(name, str):
        return ""
    try:
        return host.find(name).name
    except ModelNotFound:
        return ""

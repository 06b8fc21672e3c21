"""Probes, version and metrics, which are polled, and have to answer at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost.meters import REGISTRY
from modelhost.version import __version__

if TYPE_CHECKING:  # at run time it imports the operations, which answers do not need
    from modelhost.host import Host


class _Probe:
    def __init__(self, answer: Callable[[], Response]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer()(scope, receive, send)


def probes(host: Host) -> dict[str, ASGIApp]:
    """Return the application for a GET of each path."""

    def ready() -> Response:
        states = {model.name: model.state.value for model in host.status().models}
        is_ready = host.is_ready
        return _json({"status": "ready" if is_ready else "not_ready", "models": states}, 200 if is_ready else 503)

    return {
        "/health": _Probe(lambda: _json({"status": "ok"})),
        "/ready": _Probe(ready),
        "/version": _Probe(lambda: _json({"name": "modelhost", "version": __version__})),
        "/metrics": _Probe(lambda: Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_PLAIN_0_0_4)),
    }


def _json(payload: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(payload), status, media_type="application/json")

"""Probes, version and metrics, which are polled, and have to answer at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import orjson
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost import lazy
from modelhost.http.edge import is_deep_health
from modelhost.http.metrics.exposition import ALIASES, KV_CACHE_USAGE, Exposition, engine_lines, kv_cache_lines
from modelhost.meters import METERS
from modelhost.version import __version__

if TYPE_CHECKING:
    from modelhost.host import Host

RUNNING: Final = b"Ollama is running"
HTML: Final = b"text/html"
DOCS: Final = b"/docs"


class _Probe:
    def __init__(self, answer: Callable[[], Response]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer()(scope, receive, send)


class Reachable:
    """Answers ``HEAD /``, by which clients such as Claude Code find out whether a host is there, and open a
    connection before their first request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)


class OllamaRoot:
    """Answers ``GET /`` on the port of Ollama as Ollama does, by which clients find out whether it is there.

    Those who take HTML, such as browsers, are sent to the documentation of the API.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if any(name == b"accept" and HTML in value.lower() for name, value in scope["headers"]):
            status, more = 307, [(b"location", DOCS)]
        else:
            status, more = 200, []
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(RUNNING)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers + more})
        await send({"type": "http.response.body", "body": RUNNING})


class _Health:
    """Says that the process is alive; with ``deep=true``, what of the host does not work, and why."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._deep() if is_deep_health(scope) else _json({"status": "ok"})
        await response(scope, receive, send)

    async def _deep(self) -> Response:
        await asyncio.to_thread(lazy.preload, "http_health")
        health = await lazy.http_health.deep_health(self._host)
        return _json(health.json(), 503 if health.status == "failed" else 200)


def probes(host: Host) -> dict[str, ASGIApp]:
    """Return the application for a GET of each path."""

    def ready() -> Response:
        states = {model.name: model.state.value for model in host.status().models}
        is_ready = host.is_ready
        return _json({"status": "ready" if is_ready else "not_ready", "models": states}, 200 if is_ready else 503)

    alias = host.settings.metrics_alias
    renamed = () if alias is None else ALIASES[alias]
    exposition = Exposition([*METERS.all(), *renamed])
    own_names = frozenset([*(meter.name for meter in renamed), *([KV_CACHE_USAGE] if alias == "vllm" else [])])

    def metrics() -> Response:
        reports = host.monitor.engine_reports
        of_engines = engine_lines(reports, own_names)
        if alias == "vllm":
            of_engines = chain(kv_cache_lines(reports), of_engines)
        return StreamingResponse(exposition.render(of_engines), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return {
        "/health": _Health(host),
        "/ready": _Probe(ready),
        "/version": _Probe(lambda: _json({"name": "modelhost", "version": __version__})),
        "/metrics": _Probe(metrics),
    }


def _json(payload: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(payload), status, media_type="application/json")

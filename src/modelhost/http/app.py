"""The HTTP face as an ASGI application."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi_offline import FastAPIOffline
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from modelhost.errors import MethodNotAllowed, ModelhostError, NotFound
from modelhost.host import Host
from modelhost.http import model_events
from modelhost.http.administration import administration_routes
from modelhost.http.edge import DOCS_FILES, Edge
from modelhost.http.errors import error_answer
from modelhost.http.generate import OperationEndpoint
from modelhost.http.mcp import METHODS, PATHS, ByPort, McpEndpoint
from modelhost.http.models import models_router
from modelhost.http.openapi import OPERATIONS, describe
from modelhost.http.origins import Origins, is_local
from modelhost.http.prompt import check_paths, error_answer_at, prompt_endpoints, prompts_alone, routes_of
from modelhost.http.system import system_router
from modelhost.version import __version__


def build_app(host: Host, *, stopping: asyncio.Event | None = None, mcp_port: int | None = None) -> ASGIApp:
    """Return the application that serves ``host``; ``stopping`` ends the answers that would never end by themselves.

    With ``mcp_port`` the MCP servers are at that port, and nothing else is.
    """
    stopping = stopping or asyncio.Event()
    # FastAPI's own /docs loads its script from elsewhere, and is empty without a network.
    app = FastAPIOffline(
        title="modelhost",
        version=__version__,
        description="Language models behind OpenAI's API. The POST endpoints take llama.cpp's sampling fields too.",
        redoc_url=None,
        static_url=DOCS_FILES,
    )
    # Past FastAPI's machinery: these are the way of every token. It keeps the routes to answer other methods with 405.
    posts = {path: OperationEndpoint(host, operation.name) for operation in OPERATIONS for path in operation.paths}
    app.router.routes.extend(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items())
    # Before the route that takes every path below /v1/models.
    app.router.routes.extend(administration_routes(host))
    events = model_events.EventsEndpoint(host, keep_alive_seconds=host.settings.keep_alive_interval, stopping=stopping)
    app.router.routes.append(Route(model_events.PATH, events, methods=["GET"]))
    app.include_router(models_router(host))
    app.include_router(system_router(host))
    app.add_exception_handler(ModelhostError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_routing_error)
    describe(app, needs_key=bool(host.settings.api_keys), prompt_paths=("/", *host.settings.prompt_path))
    settings = host.settings
    keys = [key.get_secret_value() for key in settings.api_keys]
    origins = Origins(settings.allow_origin, is_local_only=is_local(settings.host))
    mcp = McpEndpoint(host, origins, stopping=stopping)
    mcp_routes = [Route(path, mcp, methods=METHODS) for path in PATHS]
    if mcp_port is None:
        app.router.routes.extend(mcp_routes)
    prompts = prompt_endpoints(host)
    if not settings.only_prompt:
        check_paths(prompts, app.router.routes)
    app.router.routes.extend(routes_of(prompts))
    edge = Edge(
        prompts_alone(prompts) if settings.only_prompt else app,
        posts=prompts if settings.only_prompt else {**posts, **prompts},
        api_keys=keys,
        origins=origins,
        answer_of=error_answer_at(settings),
    )
    if mcp_port is None:
        return edge
    apart = Starlette(routes=mcp_routes, exception_handlers={HTTPException: _answer_routing_error})
    return ByPort(
        edge,
        {mcp_port: Edge(apart, posts={}, api_keys=keys, origins=origins)},
    )


async def _answer_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ModelhostError)
    return _response(error)


async def _answer_routing_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return _response(MethodNotAllowed(f"{path} does not take {request.method}, but {allowed}."), allow=allowed)
    return _response(NotFound(f"There is nothing at {path}. /docs lists what there is."))


def _response(error: ModelhostError, **more_headers: Any) -> Response:
    status, headers, body = error_answer(error)
    texts = {name.decode(): value.decode() for name, value in headers}
    return Response(body, status, headers={**texts, **more_headers})

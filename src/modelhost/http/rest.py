"""Everything besides generation and probes: models, administration, MCP and documentation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from fastapi_offline import FastAPIOffline
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp

from modelhost.errors import HostFault, MethodNotAllowed, ModelhostError, NotFound
from modelhost.http.admin import model_events
from modelhost.http.admin.operations import administration_routes
from modelhost.http.anthropic.models import anthropic_model_routes
from modelhost.http.door_errors import answer_at
from modelhost.http.edge import DOCS_FILES, Direct
from modelhost.http.mcp.endpoint import METHODS, PATHS, McpEndpoint
from modelhost.http.ollama.models import ollama_model_routes
from modelhost.http.openai.images.paths import FILES as IMAGE_FILES
from modelhost.http.openai.models import models_router
from modelhost.http.openapi import describe
from modelhost.http.prompt.endpoint import PromptEndpoint, check_paths, routes_of
from modelhost.http.responses.paths import STORED as STORED_RESPONSES
from modelhost.http.responses.paths import route_of
from modelhost.http.traced import note_refusal
from modelhost.version import __version__

if TYPE_CHECKING:
    from modelhost.host import Host

OWN_TELEMETRY: Final[Any] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""The host records the spans of requests itself, for all of its paths; older versions of FastAPI record none."""


def build_rest(
    host: Host,
    *,
    direct: Direct,
    prompts: Mapping[str, PromptEndpoint],
    stopping: asyncio.Event,
    besides: Iterable[BaseRoute],
) -> ASGIApp:
    """Return the application. Paths of ``direct`` get here with other methods only, which are answered with 405.

    ``besides`` are further routes, such as those of the MCP servers.

    Raises:
        ConfigError: a path of ``prompts`` is taken.
    """
    # FastAPI's own /docs loads its script from the network.
    app = FastAPIOffline(
        title="modelhost",
        version=__version__,
        description="Language models behind OpenAI's API. The POST endpoints also accept llama.cpp's sampling fields.",
        redoc_url=None,
        static_url=DOCS_FILES,
        telemetry=OWN_TELEMETRY,
    )
    # Before the route that matches every path below /v1/models; and before others, since each takes time to be tried.
    app.router.routes.extend(administration_routes(host))
    app.router.routes.extend(Route(path, endpoint, methods=[method]) for (method, path), endpoint in direct.items())
    events = model_events.EventsEndpoint(host, keep_alive_seconds=host.settings.keep_alive_interval, stopping=stopping)
    app.router.routes.append(Route(model_events.PATH, events, methods=["GET"]))
    app.router.routes.extend(anthropic_model_routes(host))
    app.router.routes.extend(models_router(host).routes)
    app.router.routes.extend(ollama_model_routes(host))
    app.add_exception_handler(ModelhostError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_routing_error)
    app.add_exception_handler(Exception, _answer_fault)
    describe(app, needs_key=bool(host.settings.api_keys), prompt_paths=tuple(prompts))
    app.router.routes.extend(besides)
    check_paths(prompts, app.router.routes)
    app.router.routes.extend(routes_of(prompts))
    return app


def mcp_routes(host: Host, *, stopping: asyncio.Event) -> list[BaseRoute]:
    """Return the routes of the MCP servers."""
    endpoint = McpEndpoint(host, stopping=stopping)
    return [Route(path, endpoint, methods=METHODS) for path in PATHS]


def stored_routes(responses: ASGIApp) -> list[BaseRoute]:
    """Return the routes of what is stored of the Responses API, for which ``responses`` answers."""
    return [Route(route_of(path), responses, methods=[method]) for method, path in STORED_RESPONSES]


def image_routes(images: ASGIApp) -> list[BaseRoute]:
    """Return the route of images that answers name by URL, for which ``images`` answers."""
    return [Route(IMAGE_FILES + "/{name}", images, methods=["GET"])]


def build_mcp(host: Host, *, stopping: asyncio.Event) -> ASGIApp:
    """Return an application with the MCP servers only."""
    routes = mcp_routes(host, stopping=stopping)
    answers = {ModelhostError: _answer_error, HTTPException: _answer_routing_error, Exception: _answer_fault}
    return Starlette(routes=routes, exception_handlers=answers)


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ModelhostError)
    return _response(request, error)


async def _answer_fault(request: Request, _error: Exception) -> Response:
    return _response(request, HostFault())  # the server logs the fault


async def _answer_routing_error(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    path = request.url.path
    if problem.status_code == 405:
        allowed = ", ".join(_methods_at(request))
        error = MethodNotAllowed(f"{path} does not take {request.method}, but {allowed}.")
        return _response(request, error, allow=allowed)
    return _response(request, NotFound(f"There is nothing at {path}. /docs lists what there is."))


def _methods_at(request: Request) -> list[str]:
    """Return the methods of all routes that match the path, sorted, with HEAD wherever there is GET."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    leading = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in leading for method in route.methods or ()}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def _response(request: Request, error: ModelhostError, **more_headers: Any) -> Response:
    status, headers, body = answer_at(request.url.path, error, dict(request.headers.raw))
    note_refusal(request.scope, status=status, code=error.code)
    texts = {name.decode(): value.decode() for name, value in headers}
    return Response(body, status, headers={**texts, **more_headers})

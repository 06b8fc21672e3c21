"""The HTTP interface as an ASGI application: generation and probes at once, the rest when it is first requested."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost import lazy
from modelhost.http.anthropic.paths import PATHS as ANTHROPIC_PATHS
from modelhost.http.door_errors import error_answer_at, rpc_error_answer
from modelhost.http.edge import WEB_SOCKET, Edge
from modelhost.http.mcp.endpoint import ByPort
from modelhost.http.ollama.paths import ANSWERING as OLLAMA_PATHS
from modelhost.http.openai.audio.speech import speech_endpoints
from modelhost.http.openai.audio.transcriptions import transcript_endpoints
from modelhost.http.openai.generation import PATHS, OperationEndpoint
from modelhost.http.openai.images.paths import PATHS as IMAGE_PATHS
from modelhost.http.prompt.endpoint import prompt_endpoints, prompts_alone
from modelhost.http.responses.paths import PATHS as RESPONSES_PATHS
from modelhost.http.responses.paths import RESPONSES
from modelhost.http.system import OllamaRoot, Reachable, probes

if TYPE_CHECKING:
    from modelhost.host import Host


def build_app(
    host: Host,
    *,
    stopping: asyncio.Event | None = None,
    mcp_port: int | None = None,
    ollama_port: int | None = None,
) -> Edge | ByPort:
    """Return the application that serves ``host``; ``stopping`` ends endless answers.

    With ``mcp_port``, that port has the MCP servers only. ``ollama_port`` has everything, and answers ``GET /`` as
    Ollama does.

    Raises:
        ConfigError: a path for prompts is taken.
    """
    stopping = stopping or asyncio.Event()
    settings = host.settings
    responses = LazyApp(lambda: lazy.http_responses.responses_app(host, stopping))
    images = LazyApp(lambda: lazy.http_images.images_app(host))
    direct = _answering(host, responses, images)
    prompts = prompt_endpoints(host)

    def rest() -> ASGIApp:
        besides = lazy.http_rest.stored_routes(responses) + lazy.http_rest.image_routes(images)
        besides += lazy.http_rest.mcp_routes(host, stopping=stopping) if mcp_port is None else []
        return lazy.http_rest.build_rest(host, direct=direct, prompts=prompts, stopping=stopping, besides=besides)

    def mcp_alone() -> ASGIApp:
        return lazy.http_rest.build_mcp(host, stopping=stopping)

    others = LazyApp(rest)
    if settings.prompt_path and not settings.only_prompt:
        others.build()  # check that the chosen path is not that of an endpoint
    app = prompts_alone(prompts) if settings.only_prompt else others
    at_once: dict[tuple[str, str], ASGIApp] = (
        {} if settings.only_prompt else {**direct, (WEB_SOCKET, RESPONSES): responses}
    )
    at_once.update({("POST", path): each for path, each in prompts.items()})
    if not (settings.only_prompt or settings.strict_prompts):
        at_once["HEAD", "/"] = Reachable()
    answer_of = error_answer_at(settings)
    edge = Edge(app, direct=at_once, settings=settings, answer_of=answer_of)
    apart: dict[int, Edge] = {}
    if mcp_port is not None:
        apart[mcp_port] = Edge(
            LazyApp(mcp_alone), settings=settings, answer_of=lambda _path, error, _headers: rpc_error_answer(error)
        )
    if ollama_port is not None:
        root: dict[tuple[str, str], ASGIApp] = {("GET", "/"): OllamaRoot()}
        with_root = {**at_once, **root}
        with_root.pop(("HEAD", "/"), None)
        apart[ollama_port] = Edge(app, direct=with_root, settings=settings, answer_of=answer_of, open_at=root)
    return ByPort(edge, apart) if apart else edge


def _answering(host: Host, responses: ASGIApp, images: ASGIApp) -> dict[tuple[str, str], ASGIApp]:
    """Return what bypasses routing: the probes, and what answers requests, the hot path."""
    doors: list[tuple[Iterable[str], ASGIApp]] = [
        *((paths, OperationEndpoint(host, operation)) for operation, paths in PATHS.items()),
        (ANTHROPIC_PATHS, LazyApp(lambda: lazy.http_anthropic.anthropic_app(host))),
        (OLLAMA_PATHS, LazyApp(lambda: lazy.http_ollama.ollama_app(host))),
        (RESPONSES_PATHS, responses),
        (IMAGE_PATHS, images),
    ]
    direct = {("POST", path): app for paths, app in doors for path in paths}
    direct |= speech_endpoints(host) | transcript_endpoints(host)
    return direct | {("GET", path): probe for path, probe in probes(host).items()}


class LazyApp:
    """An application that is built at its first request.

    ``build`` imports what the first answer does not need, so that a host listens in half the time.
    """

    def __init__(self, build: Callable[[], ASGIApp]) -> None:
        """``build`` is called once, in a thread, while other requests are answered."""
        self._make = build
        self._app: ASGIApp | None = None
        self._building = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app or await self._built()
        await app(scope, receive, send)

    async def _built(self) -> ASGIApp:
        async with self._building:
            if self._app is None:
                self._app = await asyncio.to_thread(self._make)
        return self._app

    def build(self) -> None:
        """Build it now; raises what ``build`` raises."""
        self._app = self._make()

"""The HTTP interface as an ASGI application: generation and probes at once, the rest when it is first requested."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost import lazy
from modelhost.http.anthropic.paths import PATHS as ANTHROPIC_PATHS
from modelhost.http.door_errors import error_answer_at, rpc_error_answer
from modelhost.http.edge import Edge
from modelhost.http.mcp.endpoint import ByPort
from modelhost.http.openai.generation import PATHS, OperationEndpoint
from modelhost.http.prompt.endpoint import prompt_endpoints, prompts_alone
from modelhost.http.system import probes

if TYPE_CHECKING:
    from modelhost.host import Host


def build_app(host: Host, *, stopping: asyncio.Event | None = None, mcp_port: int | None = None) -> Edge | ByPort:
    """Return the application that serves ``host``; ``stopping`` ends endless answers.

    With ``mcp_port``, that port has the MCP servers only.

    Raises:
        ConfigError: a path for prompts is taken.
    """
    stopping = stopping or asyncio.Event()
    settings = host.settings
    # These bypass routing: they are the hot path.
    direct: dict[tuple[str, str], ASGIApp] = {
        ("POST", path): OperationEndpoint(host, operation) for operation, paths in PATHS.items() for path in paths
    }
    direct |= {("GET", path): probe for path, probe in probes(host).items()}
    direct |= dict.fromkeys(
        (("POST", path) for path in ANTHROPIC_PATHS), LazyApp(lambda: lazy.http_anthropic.anthropic_app(host))
    )
    prompts = prompt_endpoints(host)

    def rest() -> ASGIApp:
        mcp = lazy.http_rest.mcp_routes(host, stopping=stopping) if mcp_port is None else []
        return lazy.http_rest.build_rest(host, direct=direct, prompts=prompts, stopping=stopping, mcp=mcp)

    def mcp_alone() -> ASGIApp:
        return lazy.http_rest.build_mcp(host, stopping=stopping)

    others = LazyApp(rest)
    if settings.prompt_path and not settings.only_prompt:
        others.build()  # check that the chosen path is not that of an endpoint
    edge = Edge(
        prompts_alone(prompts) if settings.only_prompt else others,
        direct={**({} if settings.only_prompt else direct), **{("POST", path): each for path, each in prompts.items()}},
        settings=settings,
        answer_of=error_answer_at(settings),
    )
    if mcp_port is None:
        return edge
    apart = Edge(LazyApp(mcp_alone), settings=settings, answer_of=lambda _path, error: rpc_error_answer(error))
    return ByPort(edge, {mcp_port: apart})


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

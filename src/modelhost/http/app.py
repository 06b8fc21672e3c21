"""The HTTP face as an ASGI application: generation and probes at once, the rest when it is first asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from modelhost.http.door_errors import error_answer_at, rpc_error_answer
from modelhost.http.edge import Edge
from modelhost.http.later import Later
from modelhost.http.mcp.endpoint import ByPort
from modelhost.http.openai.generation import PATHS, OperationEndpoint
from modelhost.http.prompt.endpoint import prompt_endpoints, prompts_alone
from modelhost.http.system import probes

if TYPE_CHECKING:  # at run time it brings the operations, which an answer need not wait for
    from modelhost.http.served_host import ServedHost


def build_app(host: ServedHost, *, stopping: asyncio.Event | None = None, mcp_port: int | None = None) -> Edge | ByPort:
    """Return the application that serves ``host``; ``stopping`` ends the answers that would never end by themselves.

    With ``mcp_port`` the MCP servers are at that port, and nothing else is.

    Raises:
        ConfigError: a path for prompts is that of something else.
    """
    stopping = stopping or asyncio.Event()
    settings = host.settings
    # Past all routing: these are the way of every token.
    direct: dict[tuple[str, str], ASGIApp] = {
        ("POST", path): OperationEndpoint(host, operation) for operation, paths in PATHS.items() for path in paths
    }
    direct |= {("GET", path): probe for path, probe in probes(host).items()}
    prompts = prompt_endpoints(host)

    def rest() -> ASGIApp:
        from modelhost.http.rest import build_rest, mcp_routes  # noqa: PLC0415 (as said above)

        mcp = mcp_routes(host, stopping=stopping) if mcp_port is None else []
        return build_rest(host, direct=direct, prompts=prompts, stopping=stopping, mcp=mcp)

    def mcp_alone() -> ASGIApp:
        from modelhost.http.rest import build_mcp  # noqa: PLC0415

        return build_mcp(host, stopping=stopping)

    others = Later(rest)
    if settings.prompt_path and not settings.only_prompt:
        others.build()  # somebody chose a path: it must not be that of an endpoint
    edge = Edge(
        prompts_alone(prompts) if settings.only_prompt else others,
        direct={**({} if settings.only_prompt else direct), **{("POST", path): each for path, each in prompts.items()}},
        settings=settings,
        answer_of=error_answer_at(settings),
    )
    if mcp_port is None:
        return edge
    apart = Edge(Later(mcp_alone), settings=settings, answer_of=lambda _path, error: rpc_error_answer(error))
    return ByPort(edge, {mcp_port: apart})

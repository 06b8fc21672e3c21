"""The host's MCP servers at ``/mcp``, imported at the first request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from starlette.types import Receive, Scope, Send

from modelhost import lazy
from modelhost.config.settings import Settings
from modelhost.http.edge import Edge
from modelhost.mcp_servers.faces import FACES, FaceName

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from modelhost.host import Host
    from modelhost.mcp_servers.http import Extension, McpHttp

BYTES_PER_MB: Final = 1_000_000
METHODS: Final = ["GET", "POST", "DELETE"]
PATHS: Final[Mapping[str, FaceName]] = {
    path: face.name for face in FACES.values() for path in (face.path, f"{face.path}/")
}
"""With both forms of each path: clients do not repeat a body after a redirect."""


class McpEndpoint:
    """Answers the requests to all MCP servers of a host."""

    extension: ClassVar[Extension | None] = None
    """What the servers offer besides; set before a host starts, for example by a conformance suite."""

    def __init__(self, host: Host, *, stopping: asyncio.Event) -> None:
        self._host = host
        self._stopping = stopping
        self._servers: McpHttp | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        servers = self._servers or await self._loaded()
        await servers.answer(PATHS[scope["path"]], scope, receive, send)

    async def _loaded(self) -> McpHttp:
        async with self._loading:
            if self._servers is None:
                # In a thread: importing takes half a second, during which other requests are answered.
                await asyncio.to_thread(lazy.preload, "mcp_http", "local_client", "mcp_server")
                backend, extension = lazy.local_client.LocalClient(self._host), self.extension

                def build(face: FaceName) -> Server[Any]:
                    extend = extension.extend if extension is not None else None
                    return lazy.mcp_server.build_server(face, backend, door="mcp-http", extend=extend)

                self._servers = lazy.mcp_http.McpHttp(
                    build,
                    max_body_bytes=int(self._host.settings.max_body_mb * BYTES_PER_MB),
                    stopping=self._stopping,
                    extension=extension,
                )
        return self._servers


class ByPort:
    """Dispatches by port: some ports have applications of their own."""

    def __init__(self, app: Edge, apart: Mapping[int, Edge]) -> None:
        self._app = app
        self._apart = apart

    def admit(self, settings: Settings) -> None:
        """Apply the access control of ``settings`` from the next request on."""
        for app in (self._app, *self._apart.values()):
            app.admit(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        app = self._apart.get(server[1], self._app) if server else self._app
        await app(scope, receive, send)

"""An MCP server of the handshake era at an address, in plain Python within the test's own process.

It knows sessions, forgets them when told to, and refuses as the test says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

TOOLS = [{"name": "echo", "inputSchema": {"type": "object"}}, {"name": "secret", "inputSchema": {"type": "object"}}]
RESOURCES = [{"name": "one", "uri": "memo://one"}]
CAPABILITIES = {"tools": {}, "resources": {}}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An answer that is no success."""

    status: int
    body: str = ""
    content_type: str = "application/json"


def rpc_refusal(status: int, code: int, message: str) -> Refusal:
    """A refusal with an error object of JSON-RPC."""
    body = {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": None}
    return Refusal(status=status, body=json.dumps(body))


@dataclass(kw_only=True)
class HttpStub:
    """The server, and what it has seen."""

    to_strangers: Refusal
    """What a message gets that names a session which is not known."""
    to_secrets: Refusal | None = None
    """What a call of ``secret`` gets, whoever makes it."""
    sessions: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    """The tools whose calls were let in."""
    handshakes: int = 0
    authorizations: set[str | None] = field(default_factory=set)
    """What the messages had in this header."""
    url: str = ""

    def forget(self) -> None:
        """Know no session any more, as after a restart."""
        self.sessions.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.authorizations.add(headers.get("authorization"))
                self._answer(writer, request.split()[0], headers.get("mcp-session-id"), body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, writer: asyncio.StreamWriter, verb: str, session: str | None, body: bytes) -> None:
        message = json.loads(body or "{}")
        method, name = message.get("method"), (message.get("params") or {}).get("name")
        if verb != "POST" or method == "server/discover":
            _write(writer, 405)
        elif method == "initialize":
            self._shake_hands(writer, message["id"])
        elif session not in self.sessions:
            _refuse(writer, self.to_strangers)
        elif name == "secret" and self.to_secrets is not None:
            _refuse(writer, self.to_secrets)
        elif "id" in message:
            _write(writer, 200, _rpc(message["id"], self._result(method, name)))
        else:
            _write(writer, 202)

    def _shake_hands(self, writer: asyncio.StreamWriter, id_: Any) -> None:
        self.handshakes += 1
        session = f"session-{self.handshakes}"
        self.sessions.add(session)
        info = {"name": "stub", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": info}
        _write(writer, 200, _rpc(id_, result), session=session)

    def _result(self, method: str, name: str | None) -> dict[str, Any]:
        if method == "tools/call":
            self.calls.append(str(name))
            return {"content": [{"type": "text", "text": f"{name} ran"}]}
        listings: dict[str, dict[str, Any]] = {
            "tools/list": {"tools": TOOLS},
            "resources/list": {"resources": RESOURCES},
            "resources/templates/list": {"resourceTemplates": []},
        }
        return listings.get(method, {})


@asynccontextmanager
async def http_stub(to_strangers: Refusal, **fields: Any) -> AsyncIterator[HttpStub]:
    """A server that listens."""
    stub = HttpStub(to_strangers=to_strangers, **fields)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    try:
        yield stub
    finally:
        server.close()


def _rpc(id_: Any, result: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "result": result}).encode()


def _refuse(writer: asyncio.StreamWriter, refusal: Refusal) -> None:
    _write(writer, refusal.status, refusal.body.encode(), content_type=refusal.content_type)


def _write(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes = b"",
    *,
    content_type: str = "application/json",
    session: str | None = None,
) -> None:
    named = f"mcp-session-id: {session}\r\n" if session else ""
    head = f"HTTP/1.1 {status} X\r\n{named}content-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)

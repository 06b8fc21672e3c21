"""A web server on this machine that answers each path with given bytes, and a guard that takes it for a public one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from modelhost.fetching.addresses import Address
from modelhost.fetching.guard import Guard, Resolve

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]
PUBLIC = "127.0.0.1"
"""The address that tests take for a public one; any other of this machine is none."""
PRIVATE = "127.0.0.2"


def response(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """Return an answer; underscores in the names of headers stand for hyphens."""
    lines = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}connection: close\r\n\r\n".encode() + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    return response(status=status, location=to)


@dataclass(slots=True)
class Web:
    """The server as it runs."""

    port: int
    answers: dict[str, bytes | Respond] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    """The heads of the requests."""

    def url(self, path: str, host: str = PUBLIC, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    @property
    def paths(self) -> list[str]:
        return [head.split(" ", 2)[1] for head in self.heads]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            answer = self.answers.get(head.split(" ", 2)[1], response(status="404 Not Found"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        writer.close()


@asynccontextmanager
async def web_at(address: str = PUBLIC, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    web = Web(port=port)
    server = await asyncio.start_server(web.serve, address, port, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()


def is_taken_for_public(address: Address) -> bool:
    return address == ip_address(PUBLIC)


def known(names: Mapping[str, Iterable[str]]) -> Resolve:
    """Return a name server that knows ``names``, and addresses."""

    async def resolve(name: str, _port: int) -> Iterable[str]:
        if name in names:
            return names[name]
        ip_address(name)
        return [name]

    return resolve


def resolving(*answers: Iterable[str]) -> Resolve:
    """Return a name server that gives another answer each time, and the last one for ever."""
    left = list(answers)

    async def resolve(_name: str, _port: int) -> Iterable[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def guard_of(names: Mapping[str, Iterable[str]] | None = None, **options: Any) -> Guard:
    """Return a guard with a name server that knows ``names``, and addresses."""
    return Guard(resolve=known(names or {}), is_permitted=is_taken_for_public, **options)

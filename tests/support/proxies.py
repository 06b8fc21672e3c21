"""Proxies for tests: one that refuses everything, and a SOCKS one that leads everywhere to one port of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
IPV4, NAME, IPV6 = 1, 3, 4
GRANTED: Final = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """The port of a server on this machine; its connections end with it."""
    writers: set[asyncio.StreamWriter] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def answering(status: str, *headers: str) -> Serve:
    """Answers every request with ``status``, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        more = "".join(f"{header}\r\n" for header in headers)
        writer.write(f"HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()

    return serve


def socks_to(port: int, asked: list[str]) -> Serve:
    """A SOCKS5 proxy that notes which hosts it is asked for, and connects to ``port`` of this machine instead."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        *_, kind = await reader.readexactly(4)
        size = {IPV4: 4, IPV6: 16}.get(kind) or (await reader.readexactly(1))[0]
        asked.append((await reader.readexactly(size)).decode())
        await reader.readexactly(2)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GRANTED)
        await asyncio.gather(_passed_on(reader, there_writer), _passed_on(there_reader, writer))

    return serve


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()

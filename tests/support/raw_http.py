"""A chat request on a bare socket, for clients that leave, stall or read slowly."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

SMALL_BUFFER_BYTES = 4096
TIMEOUT_SECONDS = 30.0


def send_chat(url: str, content: str, *, small_buffer: bool = False, **parameters: Any) -> socket.socket:
    """Send a chat request to the host at ``url`` and return the socket, from which nothing has been read."""
    body = {"messages": [{"role": "user", "content": content}], **parameters}
    return send_post(url, "/v1/chat/completions", body, small_buffer=small_buffer)


def send_post(url: str, path: str, body: Any, *, small_buffer: bool = False) -> socket.socket:
    """As :func:`send_chat`, with ``body`` as JSON to ``path``."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = socket.socket()
    if small_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    connection.settimeout(TIMEOUT_SECONDS)
    connection.connect((address.hostname, address.port))
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(data)}\r\n"
    connection.sendall(head.encode() + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + data)
    return connection


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    """Read up to and including ``wanted``; fail if the connection ends before."""
    read = bytearray()
    while wanted not in read:
        block = connection.recv(65536)
        assert block, f"the connection ended without {wanted!r}: {bytes(read[-500:])!r}"
        read += block
    return bytes(read)


def read_all(connection: socket.socket) -> bytes:
    """Read to the end of the connection."""
    blocks = []
    while block := connection.recv(65536):
        blocks.append(block)
    return b"".join(blocks)

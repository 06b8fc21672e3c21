"""Decompression of bodies (``Content-Encoding``) while they are read, such that size limits apply to the contents."""

from __future__ import annotations

import zlib
from typing import Final

from starlette.types import Message, Receive, Scope

from modelhost.errors import InvalidRequest, UnsupportedEncoding

GZIP: Final = frozenset({b"gzip", b"x-gzip"})
IDENTITY: Final = b"identity"
GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS  # zlib's number for it
PART_BYTES: Final = 65_536
"""Decoded at a time: a kilobyte may expand to a megabyte."""
OF_THE_ENCODED: Final = frozenset({b"content-encoding", b"content-length"})


def decoded(scope: Scope, receive: Receive, encoding: bytes) -> tuple[Scope, Receive]:
    """Return a request whose body in ``encoding`` is decoded as it is received.

    Receiving raises InvalidRequest for a body that is not what its header says.

    Raises:
        UnsupportedEncoding: it cannot be.
    """
    encoding = encoding.strip().lower()
    if encoding == IDENTITY:
        return scope, receive
    if encoding not in GZIP:
        named = encoding.decode("latin-1")
        raise UnsupportedEncoding(f'The body is in the encoding "{named}". Send it as gzip, or as it is.')
    headers = [(name, value) for name, value in scope["headers"] if name not in OF_THE_ENCODED]
    return {**scope, "headers": headers}, _Gunzipped(receive).receive


class _Gunzipped:
    """A gzip body, possibly with several members (RFC 1952)."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._decoder = zlib.decompressobj(GZIP_FORMAT)
        self._encoded = b""
        self._has_begun = False
        self._has_more = False
        """Whether received data is not decoded yet."""
        self._is_last = False

    async def receive(self) -> Message:
        part = b""
        while not part:
            if not self._has_more:
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._encoded, self._is_last = message.get("body", b""), not message.get("more_body", False)
            part = self._decoded()
            if self._is_last and not self._has_more:
                self._check_end()
                return {"type": "http.request", "body": part, "more_body": False}
        return {"type": "http.request", "body": part, "more_body": True}

    def _decoded(self) -> bytes:
        if self._decoder.eof and self._encoded:
            self._decoder = zlib.decompressobj(GZIP_FORMAT)
        self._has_begun = self._has_begun or bool(self._encoded)
        try:
            part = self._decoder.decompress(self._encoded, PART_BYTES)
        except zlib.error as error:
            raise InvalidRequest(f"The body is not gzip, contrary to its header: {error}.") from None
        self._encoded = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
        self._has_more = bool(self._encoded) or (len(part) == PART_BYTES and not self._decoder.eof)
        return part

    def _check_end(self) -> None:
        if self._has_begun and not self._decoder.eof:
            raise InvalidRequest("The body is gzip that breaks off.")

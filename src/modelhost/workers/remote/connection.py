"""A connection to another server, which is reused once an answer is complete."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import httptools

from modelhost.workers.connection import Connection, ConnectionBroken


class KeepAliveConnection(Connection):
    """A :class:`Connection` for several requests, one after the other. An answer without a length ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.retry_after_seconds: int | None = None
        """The server's ``Retry-After``."""
        self.was_answered = False
        """Whether anything of the answer has arrived."""
        self._is_framed = False
        self._may_be_kept = False

    @property
    def is_reusable(self) -> bool:
        """Whether the answer has been read completely and the server accepts another request."""
        is_done = self._is_complete and self._may_be_kept and not self._parts
        return is_done and self._error is None and self._transport is not None

    async def ask(self, method: str, path: str, head: bytes, body: bytes | None) -> None:
        """As :meth:`post`, with any method, with or without a body."""
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
        await self._ask(b"%s %s HTTP/1.1\r\n%s%s\r\n%s" % (method.encode(), path.encode(), head, length, body or b""))

    def reset_for_request(self) -> None:
        """Prepare it for the next request."""
        self.status, self.content_type, self.retry_after_seconds = 0, "", None
        self.sent_at = self.waiting_since = self._now()
        self._parser = httptools.HttpResponseParser(self)
        self._has_head = self._is_complete = self.was_answered = self._is_framed = self._may_be_kept = False

    def close(self) -> None:
        """Close it, which cancels the request."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_complete:  # there is no request
            self._error = ConnectionBroken("it sent more than its answer")
            self.close()
            return
        self.was_answered = True
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._has_head and not self._is_framed and exc is None:
            self._is_complete = True
        super().connection_lost(exc)

    # Callbacks of the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-length" | b"transfer-encoding":
                self._is_framed = True
            case b"retry-after":
                with suppress(ValueError):  # a date is ignored
                    self.retry_after_seconds = max(1, int(value))
            case _:
                super().on_header(name, value)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._may_be_kept = self._is_complete and self._is_framed and self._parser.should_keep_alive()


async def connect_to(
    host: str, port: int, *, tls: ssl.SSLContext | None, timeout_seconds: float
) -> KeepAliveConnection:
    """Return a connection to a server, encrypted and authenticated with ``tls``.

    Raises:
        ConnectionBroken: it could not be made in time, or the certificate is not trusted.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_seconds):
            _, connection = await loop.create_connection(
                KeepAliveConnection, host, port, ssl=tls, server_hostname=host if tls else None
            )
    except TimeoutError:
        raise ConnectionBroken(f"it did not take the connection within {timeout_seconds:g} s") from None
    except ssl.SSLCertVerificationError as error:
        reason = f"its certificate is not trusted ({error.verify_message})"
        raise ConnectionBroken(f"{reason}: name whom to trust with the engine option ca_file") from error
    except OSError as error:
        raise ConnectionBroken(error.strerror or str(error) or "it did not take the connection") from error
    return connection


def tls_context(*, verify: bool, ca_file: str) -> ssl.SSLContext:
    """Return the TLS context for ``https://``. Reads files: call it in a thread.

    Raises:
        OSError: ``ca_file`` cannot be read or holds no certificate.
    """
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

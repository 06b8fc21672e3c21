"""An HTTP server as the child process of a worker, serving the host directly: address, requests, exit."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelhost.engines.worker.process import PR_SET_PDEATHSIG

REQUEST_SECONDS: Final = 600.0  # of a warm-up, in which kernels may be compiled

Address = str | int
"""The path of a Unix socket, or a port on loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The server's answer; ``value`` is ``None`` if it was not JSON."""

    status: int
    value: Any
    text: str

    @property
    def is_error(self) -> bool:
        return self.status >= http.client.BAD_REQUEST


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def url_of(address: Address) -> str:
    """Return ``address`` as the URL that a worker announces."""
    return f"unix://{address}" if isinstance(address, str) else f"http://127.0.0.1:{address}"


def ask(address: Address, path: str, body: Mapping[str, Any] | None = None, *, api_key: str) -> Answer:
    """Return the server's answer to ``body``; without a body, it is a GET request.

    Raises:
        OSError: the server does not answer.
    """
    connection = _Connection(address)
    head = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    try:
        connection.request("GET" if body is None else "POST", path, json.dumps(body) if body else None, head)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    return Answer(status=answer.status, value=_json(text), text=text)


def exit_like(status: int) -> None:
    """Exit as the child process did: by the same signal, or with the same status."""
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def die_with_parent() -> Callable[[], None] | None:
    """Return a function for a child to call before its program starts, so that the kernel ends it when this process
    ends.

    That is when the *thread* that starts the child ends. ``None`` if the platform has no such feature: there the host
    ends remaining processes.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def call() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended before
            os._exit(1)

    return call


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


class _Connection(http.client.HTTPConnection):
    """A connection to a port on loopback, or to a Unix socket."""

    def __init__(self, address: Address) -> None:
        super().__init__("127.0.0.1", address if isinstance(address, int) else None, timeout=REQUEST_SECONDS)
        self._path = address if isinstance(address, str) else None

    def connect(self) -> None:
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

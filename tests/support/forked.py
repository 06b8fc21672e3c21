"""Hosts and commands as forks of one process that has imported what they need: a start takes a tenth of the CPU time.

From ``serve`` or ``main`` on, each is what a person starts: a process of its own, with its own environment and
directory, that can be killed. Only the imports, most of what a start costs, are done once for all.

:func:`main` is that one process. It takes requests on a Unix socket; for each it forks a keeper, which forks once more,
tells the process id on the same connection and, at the end, how it ended. So one that asks needs no child of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, NoReturn

PRELOADED: Final = (
    "modelhost.http.server",
    "modelhost.http.listening",
    "modelhost.http.rest",
    "modelhost.mcp_servers.server",
    "modelhost.mcp_servers.http",
    "modelhost.engines.llamacpp.engine",
    "modelhost.engines.scripted.engine",
    "modelhost.engines.remote.engine",
    "modelhost.engines.mlx.engine",
    "modelhost.engines.transformers.engine",
    "modelhost.state.store",
    "modelhost.state.lazy_database",
    "modelhost.cli.main",
    "modelhost.client.remote",
)
READ_AT_IMPORT: Final = ("HF_", "HOME", "XDG_CACHE_HOME")
"""What the names of variables begin with that huggingface_hub reads when it is imported."""
START_SECONDS: Final = 60.0
COMMAND: Final = "import sys; from modelhost.cli.main import main; sys.exit(main())"
"""What the script ``modelhost`` does."""
RUNNER: Final = """
import json, sys
from modelhost.config.settings import Settings
from modelhost.errors import ModelhostError
from modelhost.http.server import serve
try:
    sys.exit(serve(Settings.model_validate(json.loads(sys.argv[1])), announce=lambda url, *_: print(url, flush=True)))
except ModelhostError as error:
    sys.exit(f"{error.code}: {error.message}")
"""
LARGEST_MESSAGE: Final = 1 << 20


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a fork would see all of ``environment``: nothing that is read by an import may differ."""
    return _read_at_import(environment) == _nursery().read_at_import


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT)}


class ForkedProcess:
    """A fork, with what is used of :class:`subprocess.Popen`."""

    def __init__(
        self,
        program: str,
        *arguments: str,
        environment: Mapping[str, str],
        stderr: int,
        cwd: Path | None = None,
        stdin: IO[bytes] | None = None,
    ) -> None:
        """Run ``program``, a source text; without ``stdin`` it has nothing to read."""
        self.args = arguments
        self.returncode: int | None = None
        request = {
            "program": program,
            "arguments": arguments,
            "environment": dict(environment),
            "cwd": str(cwd or Path.cwd()),
        }
        reading, writing = os.pipe()
        self.stdout = os.fdopen(reading, "rb")
        self._keeper = _nursery().connect()
        with ExitStack() as files:
            source = stdin or files.enter_context(Path(os.devnull).open("rb"))
            socket.send_fds(self._keeper, [json.dumps(request).encode()], [source.fileno(), writing, stderr])
        os.close(writing)
        self._keeper.shutdown(socket.SHUT_WR)
        self._told = self._keeper.makefile("r")
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._keeper], [], [], timeout)[0]:
            self.returncode = int(self._told.readline())
            self._told.close()
            self._keeper.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Nursery:
    """The process that all are forked from; it ends when the tests do."""

    def __init__(self) -> None:
        self.read_at_import = _read_at_import(os.environ)
        self._folder = tempfile.TemporaryDirectory(prefix="modelhost-tests-")
        self._address = str(Path(self._folder.name) / "nursery")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._address)
        listener.listen(16)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked", str(listener.fileno())],
            stdin=subprocess.PIPE,  # its end is that of the tests
            pass_fds=[listener.fileno()],
            cwd=Path(__file__).parents[2],
        )
        listener.close()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(START_SECONDS)
        connection.connect(self._address)
        connection.settimeout(None)
        return connection


@cache
def _nursery() -> _Nursery:
    return _Nursery()


def main() -> None:
    """Import, and fork for everyone who asks, until standard input ends."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep(connection)
        connection.close()


def _keep(connection: socket.socket) -> NoReturn:
    """Fork what is asked for, and tell of its beginning and its end."""
    text, descriptors, _, _ = socket.recv_fds(connection, LARGEST_MESSAGE, 3)
    while more := connection.recv(LARGEST_MESSAGE):
        text += more
    pid = os.fork()
    if pid == 0:
        connection.close()
        _run(json.loads(text), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request: Mapping[str, Any], descriptors: Sequence[int]) -> NoReturn:
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = ["modelhost", *request["arguments"]]
    status = 1
    try:
        exec(request["program"], {"__name__": "__main__"})  # noqa: S102 (the program that others get with -c)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:  # noqa: BLE001 (told as an interpreter tells it at its end)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()

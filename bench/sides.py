"""The two sides of the benchmark as processes: the bare worker, and the host with a worker of its own."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from modelhost.engines.base import Engine
from modelhost.engines.launch import ModelSpec

POLL_SECONDS = 0.005
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0


class StartError(Exception):
    """A side did not start; the message holds what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A running server, where it answers, and the process in front, whose CPU time and memory are measured."""

    url: str
    api_key: str | None
    pid: int
    start_seconds: float
    after_worker_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How a worker is started: its command, the variables besides ours, and the configuration that it reads."""

    argv: Sequence[str]
    env: Mapping[str, str]
    config: Mapping[str, Any]
    api_key: str


@contextmanager
def bare_worker(engine: Engine, spec: ModelSpec, log: Path) -> Iterator[Side]:
    """Start the engine's worker as the host would; end it afterwards.

    Raises:
        StartError: it did not say that it is ready.
    """
    key = secrets.token_hex(16)
    launch = engine.launch(spec, key)
    with worker_process(Order(argv=launch.argv, env=launch.env, config=launch.config, api_key=key), log) as side:
        yield side


@contextmanager
def worker_process(order: Order, log: Path) -> Iterator[Side]:
    """Start a worker as ``order`` says; end it afterwards; raises as :func:`bare_worker`."""
    begun = time.perf_counter()
    with log.open("ab") as errors:
        process = subprocess.Popen(
            order.argv,
            env={**os.environ, **order.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # one that has processes of its own ends its whole group
        )
    with _group_ended(process):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(dict(order.config)).encode() + b"\n")
        process.stdin.flush()
        url = _ready_url(process.stdout, log)
        yield Side(url=url, api_key=order.api_key, pid=process.pid, start_seconds=time.perf_counter() - begun)


def _ready_url(lines: IO[bytes], log: Path) -> str:
    for line in lines:
        event = json.loads(line)
        if event["event"] == "ready":
            return str(event["url"])
        if event["event"] == "failed":
            raise StartError(event["message"])
    raise StartError(f"the worker ended before it was ready; its log is {log}")


@contextmanager
def own_server(
    command: Sequence[str], env: Mapping[str, str], log: Path, *, port: int, timeout: float = START_TIMEOUT
) -> Iterator[Side]:
    """Start a server of other makers, which listens on ``port`` of loopback; end it afterwards.

    It is there when it takes connections, which may be before it has its model.

    Raises:
        StartError: it ended, or took no connection in ``timeout`` seconds.
    """
    begun = time.perf_counter()
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )
    with _group_ended(process):
        _wait_until(lambda: _listens(port), process, Path(command[0]).name, log, timeout)
        seconds = time.perf_counter() - begun
        yield Side(url=f"http://127.0.0.1:{port}", api_key=None, pid=process.pid, start_seconds=seconds)


@contextmanager
def host(
    arguments: Sequence[str],
    log: Path,
    *,
    timeout: float = START_TIMEOUT,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Side]:
    """Start ``modelhost serve`` with ``arguments`` and with ``environment`` besides ours; end it afterwards.

    Raises:
        StartError: it ended, or did not become ready in ``timeout`` seconds.
    """
    command = Path(sys.executable).with_name("modelhost")
    if not command.exists():
        raise StartError(f"{command} is not there; install the package first")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    begun = time.perf_counter()
    with log.open("ab") as errors:
        log_begin = errors.tell()
        process = subprocess.Popen(
            [str(command), "serve", *arguments, "--port", str(port)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )
    with _ended(process):
        _wait_until(lambda: _is_ready(port), process, "modelhost serve", log, timeout)
        seconds, now = time.perf_counter() - begun, datetime.datetime.now(datetime.UTC)
        worker_ready = worker_ready_at(log.read_bytes()[log_begin:])
        after = None if worker_ready is None else (now - worker_ready).total_seconds()
        yield Side(url=url, api_key=None, pid=process.pid, start_seconds=seconds, after_worker_seconds=after)


def worker_ready_at(log: bytes) -> datetime.datetime | None:
    """Return when the host saw that its worker was ready, from its log in JSON; none where the log does not say it."""
    for line in log.splitlines():
        if b'"worker_ready"' in line:
            return datetime.datetime.fromisoformat(json.loads(line)["timestamp"])
    return None


def _wait_until(
    is_there: Callable[[], bool], process: subprocess.Popen[bytes], name: str, log: Path, timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"{name} ended with {process.returncode}; its log is {log}")
        if is_there():
            return
        time.sleep(POLL_SECONDS)
    raise StartError(f"{name} was not ready in {timeout:.0f} seconds; its log is {log}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _group_ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End ``process``, which leads a group, when the block is left, and then what it may have left of the group."""
    try:
        with _ended(process):
            try:
                yield
            finally:
                _tell_group(process, signal.SIGTERM)
    finally:
        _tell_group(process, signal.SIGKILL)


def _tell_group(process: subprocess.Popen[bytes], what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, what)


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End ``process`` when the block is left, and close its pipes."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

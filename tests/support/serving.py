"""Real hosts for tests: a ``serve`` process on a free port with its worker, and clients for it.

The process runs :func:`modelhost.http.server.serve`, as ``modelhost serve`` does, with settings that are given as they
are: neither a file nor the environment adds to them.
Standard error, the host's log, is kept and shown on a failure. Most are forks (:mod:`tests.support.forked`).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Self

import httpx2
import openai
import psutil

from tests.support.forked import RUNNER, ForkedProcess, can_fork

START_SECONDS = 120.0
STOP_SECONDS = 20.0
CLIENT_SECONDS = 120.0
METRIC_SECONDS = 60.0


class ServeFailed(Exception):
    """The process ended before it listened, or did not listen in time. ``returncode`` is its exit status."""

    def __init__(self, what: str, stderr: str, returncode: int | None) -> None:
        super().__init__(f"{what}; its log:\n{stderr}")
        self.stderr = stderr
        self.returncode = returncode


class ServedHost:
    """A host in a process of its own; ended, at the latest, by :meth:`close`.

    Args:
        settings: those of :class:`modelhost.config.settings.Settings`; ``port=0``, quiet, few threads and a data
            directory of its own unless told.
        environment: variables of its process besides our own.
        before: code that its process runs first.
    """

    def __init__(self, *, environment: Mapping[str, str] | None = None, before: str = "", **settings: Any) -> None:
        self._things = ExitStack()
        self.settings = {"port": 0, "threads": 1, "log_format": "json", **settings}
        if "data_dir" not in settings:
            self.settings["data_dir"] = self._things.enter_context(tempfile.TemporaryDirectory(prefix="modelhost-"))
        # Appending, since the process shares the position: reading from the start must not make it write there.
        self._stderr = self._things.enter_context(tempfile.TemporaryFile("a+b"))  # noqa: SIM115 (entered)
        self._default_client: openai.OpenAI | None = None
        self.process = self._begun({**os.environ, **(environment or {})}, before + RUNNER)
        try:
            self.url = self._announced_url()
        except BaseException:
            self.close()
            raise
        self.http = self._things.enter_context(
            httpx2.Client(base_url=self.url, timeout=CLIENT_SECONDS, headers=self._key_header(), trust_env=False)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, if it has ended."""
        return self.process.poll()

    @property
    def stderr(self) -> str:
        """The log so far."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def log_events(self, event: str) -> list[dict[str, Any]]:
        """Return the log entries of the kind ``event``."""
        lines = [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def client(self, **options: Any) -> openai.OpenAI:
        """Return a client that never tries again by itself; it is closed with the host."""
        if options:
            return self._things.enter_context(openai.OpenAI(**self._client_options(options)))
        if self._default_client is None:
            self._default_client = self._things.enter_context(openai.OpenAI(**self._client_options({})))
        return self._default_client

    def async_client(self, **options: Any) -> openai.AsyncOpenAI:
        """Return a client to be entered with ``async with``."""
        return openai.AsyncOpenAI(**self._client_options(options))

    def worker_pids(self) -> list[int]:
        """Return the processes of this host's workers that are alive."""
        alive = []
        for child in psutil.Process(self.pid).children():
            with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
                if child.status() != psutil.STATUS_ZOMBIE:
                    alive.append(child.pid)
        return alive

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of ``/metrics`` called ``name`` that carry ``labels``; 0 without any."""
        total = 0.0
        for line in self.http.get("/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            found, _, given = sample.partition("{")
            if found == name and all(f'{key}="{wanted}"' in given for key, wanted in labels.items()):
                total += float(value)
        return total

    def wait_for_metric(self, name: str, value: float, **labels: str) -> None:
        """Wait until the metric is ``value``: a request is counted a moment after its last byte has arrived."""
        end = time.monotonic() + METRIC_SECONDS
        while (found := self.metric(name, **labels)) != value:
            assert time.monotonic() < end, f"{name} is {found}, not {value}"

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end of the process and return its exit status."""
        return self.process.wait(seconds)

    def close(self) -> None:
        """End the process, the hard way if it does not end by itself in time, and close everything."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._things.close()

    def _begun(self, environment: Mapping[str, str], code: str) -> subprocess.Popen[bytes] | ForkedProcess:
        settings = json.dumps(self.settings)
        if can_fork(environment):
            return ForkedProcess(code, settings, environment=environment, stderr=self._stderr.fileno())
        return subprocess.Popen(
            [sys.executable, "-c", code, settings],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
        )

    def _announced_url(self) -> str:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        url = self.process.stdout.readline().decode().strip() if readable else ""
        if url:
            return url
        if readable:
            self.process.wait(STOP_SECONDS)
        what = f"the host ended with {self.returncode}" if readable else "the host was not ready in time"
        raise ServeFailed(what, self.stderr, self.returncode)

    def _client_options(self, options: dict[str, Any]) -> dict[str, Any]:
        keys = self.settings.get("api_keys") or ["unused"]
        defaults = {"base_url": f"{self.url}/v1", "api_key": keys[0], "max_retries": 0, "timeout": CLIENT_SECONDS}
        return {**defaults, **options}

    def _key_header(self) -> dict[str, str]:
        keys = self.settings.get("api_keys")
        return {"Authorization": f"Bearer {keys[0]}"} if keys else {}


class HostPool:
    """Hosts shared by tests that ask for the same settings; none may be damaged by a test."""

    def __init__(self) -> None:
        self._hosts: dict[str, ServedHost] = {}

    def host(self, **settings: Any) -> ServedHost:
        """Return the running host with ``settings``, started now if there is none."""
        key = json.dumps(settings, sort_keys=True, default=str)
        known = self._hosts.get(key)
        if known is None or known.returncode is not None:
            known = self._hosts[key] = ServedHost(**settings)
        return known

    def close(self) -> None:
        """End all."""
        for host in self._hosts.values():
            host.close()
        self._hosts.clear()


@contextmanager
def host_pool() -> Iterator[HostPool]:
    """A pool that ends with the context."""
    pool = HostPool()
    try:
        yield pool
    finally:
        pool.close()

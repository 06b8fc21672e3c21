"""What MCP costs: the same chat as a plain HTTP request, and as a call of ``chat_completion`` in each of its ways."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.table import Table

from bench.sides import StartError, host
from bench.targets import Check

MODEL = ["--engine", "scripted", "--alias", "scripted"]
REPLY = {"match": "", "reply": "Twelve words are enough for an answer that nobody will ever read."}
SAMPLING = {"temperature": 0.7, "max_tokens": 512, "top_p": 1.0, "top_k": -1}
MESSAGES = [{"role": "user", "content": "Hello?"}]
WARM_UP = 20
STARTS = 5
PLAIN = "plain HTTP request"
MCP_HTTP = "over HTTP"
ATTACHED = "over stdio, attached to the host"
OWN = "over stdio, a host of its own"
MOST_ADDED_SECONDS = {MCP_HTTP: 0.004, ATTACHED: 0.004, OWN: 0.002}
"""At p50, over the plain request. The bare SDK takes 2.0 ms (stdio) and 2.6 to 4.5 ms (HTTP) for an echo."""
MOST_HANDSHAKE_SECONDS = 2.0

Ask = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class McpCosts:
    """Seconds of each call, by the way it took; of each handshake, from the start of the process to its answer."""

    calls: Mapping[str, tuple[float, ...]]
    handshakes: tuple[float, ...]

    def added(self, way: str, share: float = 0.5) -> float:
        """Return what ``way`` takes beyond the plain request, at this share of the calls."""
        return quantile(self.calls[way], share) - quantile(self.calls[PLAIN], share)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of ``values`` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def calls_of(*, quick: bool) -> int:
    """Return how many calls of each way are measured."""
    return 100 if quick else 1000


def measure_mcp(log: Path, *, calls: int) -> McpCosts:
    """Measure everything; one call of each way after the other, ``calls`` times.

    Raises:
        StartError: the host, or a server, did not start or did not answer.
    """
    with ExitStack() as things:
        folder = Path(things.enter_context(tempfile.TemporaryDirectory()))
        script = folder / "script.json"
        script.write_text(json.dumps([REPLY]))
        options = ["--engine-option", f"script={script}", "--data-dir", str(folder / "host")]
        url = things.enter_context(host([*MODEL, *options], log)).url
        own = {
            "MODELHOST_ENGINE": "scripted",
            "MODELHOST_ENGINE_OPTIONS": f"script={script}",
            "MODELHOST_DATA_DIR": str(folder / "own"),
        }
        ways: dict[str, Ask] = {
            PLAIN: things.enter_context(_plain(url)),
            MCP_HTTP: things.enter_context(_over_http(url)),
            ATTACHED: things.enter_context(_over_stdio(["--url", url], {}, folder, log)),
            OWN: things.enter_context(_over_stdio(["--config", str(_empty(folder))], own, folder, log)),
        }
        # The plain one last: the host closes a connection that is idle for as long as the others take to start.
        for ask in reversed(ways.values()):
            for _ in range(WARM_UP):
                ask()
        taken: dict[str, list[float]] = {way: [] for way in ways}
        chance = random.Random(calls)
        for _ in range(calls):
            for way, ask in chance.sample(list(ways.items()), len(ways)):  # what one leaves to do falls to all alike
                began = time.perf_counter()
                ask()
                taken[way].append(time.perf_counter() - began)
        handshakes = tuple(_handshake(own, folder, log) for _ in range(STARTS))
    return McpCosts(calls={way: tuple(seconds) for way, seconds in taken.items()}, handshakes=handshakes)


def mcp_table(costs: McpCosts) -> Table:
    """Return the table."""
    columns = ("", "p50", "p95", "added, p50", "added, p95")
    title = "chat_completion, scripted engine (times in ms)"
    table = Table(*columns, title=title, title_justify="left")
    for way, seconds in costs.calls.items():
        own = [quantile(seconds, share) for share in (0.5, 0.95)]
        added = [] if way == PLAIN else [costs.added(way, share) for share in (0.5, 0.95)]
        table.add_row(way, *(f"{value * 1000:,.2f}" for value in (*own, *added)))
    table.add_row("handshake, from the start of the process", f"{statistics.median(costs.handshakes) * 1000:,.0f}")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def mcp_checks(costs: McpCosts | None) -> list[tuple[str, Check]]:
    """Return the targets, each with where."""
    if costs is None:
        return []
    checks = [_check(f"added to a call {way}", costs.added(way), most) for way, most in MOST_ADDED_SECONDS.items()]
    handshake = statistics.median(costs.handshakes)
    return [("MCP", check) for check in (*checks, _check("handshake over stdio", handshake, MOST_HANDSHAKE_SECONDS))]


def mcp_json(costs: McpCosts | None) -> dict[str, Any]:
    """Return all figures, those of every call, with the targets."""
    if costs is None:
        return {"mcp": None}
    return {"mcp": {**asdict(costs), "targets": [asdict(check) for _, check in mcp_checks(costs)]}}


def _check(what: str, seconds: float, most: float) -> Check:
    return Check(
        what=what,
        target=f"at most {most * 1000:,.0f} ms",
        measured=f"{seconds * 1000:,.2f} ms",
        is_reached=seconds <= most,
    )


def _empty(folder: Path) -> Path:
    """A configuration file that says nothing: with one, the server is a host of its own."""
    path = folder / "empty.yaml"
    path.touch()
    return path


@contextmanager
def _posting(url: str, path: str, body: Mapping[str, Any]) -> Iterator[Callable[[], Any]]:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    payload = json.dumps(body)

    def post() -> Any:
        if connection.sock is None:  # not before: hosts wait only so long for the first request of a client
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.request("POST", path, payload, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    try:
        yield post
    finally:
        connection.close()


@contextmanager
def _plain(url: str) -> Iterator[Ask]:
    with _posting(url, "/v1/chat/completions", {"messages": MESSAGES, **SAMPLING}) as post:

        def ask() -> None:
            answer = post()
            if "choices" not in answer:
                raise StartError(f"the host answered {answer}")

        yield ask


@contextmanager
def _over_http(url: str) -> Iterator[Ask]:
    with _posting(url, "/mcp/llm", _call(1)) as post:

        def ask() -> None:
            _checked(post())

        yield ask


def _call(number: int) -> dict[str, Any]:
    arguments = {"messages": MESSAGES, **SAMPLING}
    params = {"name": "chat_completion", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def _checked(answer: Mapping[str, Any]) -> None:
    if answer.get("result", {}).get("isError") is not False:
        raise StartError(f"the server answered {answer}")


@contextmanager
def _server(
    arguments: Sequence[str], variables: Mapping[str, str], folder: Path, log: Path
) -> Iterator[Callable[[Mapping[str, Any]], Any]]:
    """``modelhost mcp llm``; what is yielded sends it a message and returns the line that it answers."""
    command = Path(sys.executable).with_name("modelhost")
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [str(command), "mcp", "llm", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env={**os.environ, **variables},
        )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def exchange(message: Mapping[str, Any]) -> Any:
        stdin.write(json.dumps(message).encode() + b"\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise StartError(f"modelhost mcp ended with {process.wait(10)}; its log is {log}")
        return json.loads(line)

    try:
        yield exchange
    finally:
        stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        stdout.close()


@contextmanager
def _over_stdio(arguments: Sequence[str], variables: Mapping[str, str], folder: Path, log: Path) -> Iterator[Ask]:
    with _server(arguments, variables, folder, log) as exchange:
        numbers = iter(range(1, 10**9))

        def ask() -> None:
            _checked(exchange(_call(next(numbers))))

        yield ask


def _handshake(variables: Mapping[str, str], folder: Path, log: Path) -> float:
    began = time.perf_counter()
    with _server(["--config", str(_empty(folder))], variables, folder, log) as exchange:
        greeting = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        }
        exchange({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": greeting})
        return time.perf_counter() - began

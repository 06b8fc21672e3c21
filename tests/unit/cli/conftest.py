"""A small HTTP server in place of a host, and a client in place of a model."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import modelhost.http
from modelhost import logs
from modelhost.cli.running_host import BlockingRunner
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.events import Piece
from modelhost.exchange.messages import message_json
from modelhost.exchange.requests import ChatRequest
from tests.support.fake_serving import FakeServer
from tests.support.surroundings import leave_surroundings


def chunk(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}


class Answer:
    """What the stand-in sends for a chat completion; a test gives the parts."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {"choices": [{"message": {"role": "assistant", "content": "Hello."}}]}
        self.raw_body: bytes | None = None
        self.stream: list[bytes] = [sse(chunk("Hel")), sse(chunk("lo.", "stop")), b"data: [DONE]\n\n"]
        self.breaks_off = False
        self.hold = threading.Event()
        self.hold.set()
        self.started = threading.Event()


def sse(data: Any, event: str = "") -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


class Host(ThreadingHTTPServer):
    """Answers as a modelhost would, as far as the command line needs it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answer = Answer()
        self.name = "modelhost"
        self.models: list[str] | None = ["first", "second"]
        self.requests: list[tuple[str, Mapping[str, str], Any]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may hang up at any time; everything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Host

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the test output clean."""

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers), None))
        if self.path == "/version":
            self._send(200, {"name": self.server.name, "version": "1"})
        else:
            names = self.server.models
            self._send(200, {} if names is None else {"object": "list", "data": [{"id": name} for name in names]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        answer = self.server.answer
        if body.get("stream") and answer.status == 200:
            self._send_stream(answer)
        else:
            self._send(answer.status, answer.body, answer.raw_body)

    def _send(self, status: int, body: Any, raw: bytes | None = None) -> None:
        data = json.dumps(body).encode() if raw is None else raw
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _send_stream(self, answer: Answer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in answer.stream:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.flush()
        answer.started.set()
        answer.hold.wait(20)
        if answer.breaks_off:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.answer.hold.set()
        server.shutdown()
        thread.join()


class FakeClient:
    """Says ``parts``; one that is an exception is raised in its place, and one that is a chunk is sent as it is."""

    def __init__(self, *parts: str | BaseException | dict[str, Any]) -> None:
        self.parts: Sequence[str | BaseException | dict[str, Any]] = parts
        self.asked: list[tuple[Sequence[Mapping[str, str]], Mapping[str, Any]]] = []
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.failure: Exception | None = None
        """Of every call of an operation."""
        self.failures: list[Exception] = []
        """Of the next calls of operations, one of each."""
        self.is_closed = False

    def models(self) -> Sequence[str]:
        return ["small", "large"]

    def complete(self, messages: Sequence[Mapping[str, str]], params: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append((messages, params))
        return {"choices": [{"message": {"role": "assistant", "content": "".join(map(str, self.parts))}}]}

    def stream(self, messages: Sequence[Mapping[str, str]], params: Mapping[str, Any]) -> Generator[Piece]:
        self.asked.append((messages, params))
        reader = ChunkReader()
        try:
            for part in self.parts:
                if isinstance(part, BaseException):
                    raise part
                yield reader.read(chunk(part) if isinstance(part, str) else part)
        finally:
            self.is_closed = True

    def call(self, operation: Any, parameters: Any) -> None:
        self.called.append((operation.name, parameters.model_dump(exclude_unset=True)))
        if self.failures:
            raise self.failures.pop(0)
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def fake_client() -> type[FakeClient]:
    return FakeClient


class FakeOwnHost:
    """The host inside of :class:`FakeLLM`."""

    models = (types.SimpleNamespace(name="own", names_with_adapters=("own:style",)),)

    def __init__(self, asked: list[tuple[Any, dict[str, Any]]]) -> None:
        self._asked = asked

    @asynccontextmanager
    async def open(self, request: ChatRequest, _caller: Any) -> AsyncIterator[AsyncIterator[Piece]]:
        given = {
            "model": request.model,
            "seed": request.sampling.seed,
            "tools": None if request.tools is None else [*request.tools],
        }
        said = [message_json(message) for message in request.messages]
        self._asked.append((said, {name: value for name, value in given.items() if value is not None}))

        async def pieces() -> AsyncIterator[Piece]:
            reader = ChunkReader()
            for part in (chunk("Own "), chunk("words.", "stop")):
                yield reader.read(part)

        yield pieces()

    async def call(self, _task: str, body: dict[str, Any]) -> dict[str, Any]:
        self._asked.append((body.pop("messages"), body))
        return {"choices": [{"message": {"content": "Own words."}}]}


class FakeLLM(BlockingRunner):
    """In place of ``modelhost.LLM``: remembers what it was asked and says a fixed answer."""

    started: list[str | None]
    stopped: list[str | None]
    asked: list[tuple[Any, dict[str, Any]]]
    configured: list[dict[str, Any]]
    log_levels: list[str]

    def __init__(self, model: str | None = None, **settings: Any) -> None:
        self.model = model
        self.configured.append(settings)
        self.host = FakeOwnHost(self.asked)

    def __enter__(self) -> FakeLLM:
        self.started.append(self.model)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.append(self.model)


@pytest.fixture
def own_llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeLLM]]:
    """``modelhost.LLM`` replaced, as the command's own model."""

    class FreshFakeLLM(FakeLLM):
        started, stopped, asked, configured, log_levels = [], [], [], [], []

    monkeypatch.setattr(logs, "setup", lambda level, _log_format: FreshFakeLLM.log_levels.append(level))
    module = types.ModuleType("modelhost.llm")
    vars(module)["LLM"] = FreshFakeLLM
    monkeypatch.setitem(sys.modules, "modelhost.llm", module)
    for name in ("modelhost.cli.talk.own_model", "modelhost.cli.talk.own_model"):
        sys.modules.pop(name, None)
    yield FreshFakeLLM
    for name in ("modelhost.cli.talk.own_model", "modelhost.cli.talk.own_model"):
        sys.modules.pop(name, None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()
    monkeypatch.setitem(sys.modules, "modelhost.http.server", fake)
    monkeypatch.setattr(modelhost.http, "server", fake, raising=False)
    return fake


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leave_surroundings(monkeypatch, tmp_path)


@pytest.fixture
def stream_event() -> Callable[..., bytes]:
    return sse

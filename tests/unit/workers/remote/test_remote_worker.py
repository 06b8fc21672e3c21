"""The way to a model elsewhere, against listeners that answer whatever the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from modelhost.engines.launch import RemoteTarget
from modelhost.engines.remote.dialects import OPENAIS
from modelhost.engines.remote.engine import Remote
from modelhost.errors import (
    ConfigError,
    EngineError,
    InvalidRequest,
    ModelFailed,
    ModelhostError,
    ModelUnloaded,
    QueueFull,
    WorkerCrashed,
    WorkerStartFailed,
)
from modelhost.workers.call_depth import CALL_DEPTH
from modelhost.workers.endings import unloaded_by_force
from modelhost.workers.remote.worker import DEEPEST, RemoteWorker
from modelhost.workers.worker import Worker
from tests.support.eventually import eventually_async

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODELS = orjson.dumps({"object": "list", "data": [{"id": "theirs", "max_model_len": 77}, {"id": "second"}]})
EVENT = b'data: {"model":"theirs","text":"\\"model\\":\\"theirs\\""}\n\n'
END = b"data: [DONE]\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _whole(status: int, body: bytes, *headers: bytes) -> bytes:
    more = b"".join(b"%s\r\n" % header for header in headers)
    return b"HTTP/1.1 %d X\r\n%scontent-length: %d\r\n\r\n%s" % (status, more, len(body), body)


def _streaming(*blocks: bytes) -> Answer:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"".join(_chunk(block) for block in blocks) + b"0\r\n\r\n")

    return answer


def _refusing(status: int, body: object, *headers: bytes) -> Answer:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_whole(status, orjson.dumps(body), *headers))

    return answer


class Server:
    """Lists its models, and answers everything else as it is told; it keeps connections."""

    def __init__(self, answer: Answer, models: bytes = _whole(200, MODELS)) -> None:
        self.answer = answer
        self.models = models
        self.connections = 0
        self.requests: list[bytes] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        await self._server.wait_closed()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /v1/models "):
                    writer.write(self.models)
                    continue
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self.answer(self.requests[-1], writer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()


@asynccontextmanager
async def _serving(*servers: Server) -> AsyncIterator[None]:
    for server in servers:
        await server.start()
    try:
        yield
    finally:
        for server in servers:
            await server.stop()


@asynccontextmanager
async def _worker(*servers: Server, **more: object) -> AsyncIterator[Worker]:
    target = RemoteTarget(
        urls=tuple(server.url for server in servers),
        api_key="the-secret-key",
        tasks=OPENAIS,
        **{"health_seconds": 30.0, **more},  # type: ignore[arg-type]
    )
    worker = await RemoteWorker.begin(target, Remote(), model="ours", timeout_seconds=5)
    try:
        yield worker
    finally:
        await worker.close()


async def _read_all(worker: Worker) -> bytes:
    read = b""
    async with worker.stream("chat", {"model": "ours", "x": 1}) as blocks:
        while block := await blocks.read():
            read += block
    return read


async def test_the_server_is_told_its_name_and_the_client_ours() -> None:
    server = Server(_streaming(EVENT + END))
    async with _serving(server), _worker(server) as worker:
        assert await _read_all(worker) == EVENT.replace(b'"model":"theirs"', b'"model":"ours"') + END
        assert worker.ready.context_length == 77
    (request,) = server.requests
    assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"Authorization: Bearer the-secret-key\r\n" in request
    assert b"X-Modelhost-Depth: 1\r\n" in request
    assert request.endswith(b'{"model":"theirs","x":1}')


async def test_the_quotes_of_a_generated_text_are_not_taken_for_a_name() -> None:
    server = Server(_streaming(EVENT + END))
    async with _serving(server), _worker(server) as worker:
        first = (await _read_all(worker)).split(b"\n\n")[0]
    assert orjson.loads(first.removeprefix(b"data: ")) == {"model": "ours", "text": '"model":"theirs"'}


@pytest.mark.promise("vllm-crush.pooling")
async def test_requests_after_each_other_share_a_connection() -> None:
    server = Server(_streaming(EVENT, END))
    async with _serving(server), _worker(server) as worker:
        for _ in range(5):
            await _read_all(worker)
    assert (len(server.requests), server.connections) == (5, 1)


async def test_requests_at_the_same_time_have_a_connection_each() -> None:
    server = Server(_streaming(EVENT, END))
    async with _serving(server), _worker(server) as worker:
        await asyncio.gather(*(_read_all(worker) for _ in range(5)))
    assert (len(server.requests), server.connections) == (5, 5)


@pytest.mark.promise("vllm-crush.pooling")
async def test_a_kept_connection_that_the_server_has_closed_is_replaced() -> None:
    server = Server(_streaming(EVENT, END))
    async with _serving(server), _worker(server) as worker:
        await _read_all(worker)
        server.hang_up()
        assert await _read_all(worker)
    assert len(server.requests) == 2


async def test_an_answer_that_is_left_ends_its_connection() -> None:
    left = asyncio.Event()

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + _chunk(EVENT))
        try:
            while not writer.transport.is_closing():
                writer.write(_chunk(b": still here\n\n"))
                await asyncio.sleep(0)
        finally:
            left.set()

    server = Server(answer)
    async with _serving(server), _worker(server) as worker:
        async with worker.stream("chat", {}) as blocks:
            await blocks.read()
        async with asyncio.timeout(5):
            await left.wait()
        assert worker.open_requests == 0


@pytest.mark.parametrize("split", range(1, 12))
async def test_lines_that_end_in_crlf_are_lines(split: int) -> None:
    text = b'data: {"a":1}\r\n\r\ndata: [DONE]\r\n\r\n'
    server = Server(_streaming(text[:split], text[split:]))
    async with _serving(server), _worker(server) as worker:
        assert await _read_all(worker) == b'data: {"a":1}\n\ndata: [DONE]\n\n'


async def test_an_answer_may_end_with_its_connection() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + EVENT + b"data: [DONE]\n")
        writer.close()

    server = Server(answer)
    async with _serving(server), _worker(server) as worker:
        assert (await _read_all(worker)).endswith(END)


async def test_a_complete_answer_without_its_mark_leaves_a_connection_that_is_used_again() -> None:
    last = b'event: chunk\r\ndata: {"model":"theirs","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\n'
    server = Server(_streaming(last))
    async with _serving(server), _worker(server) as worker:
        for _ in range(2):
            assert (await _read_all(worker)).endswith(b'"finish_reason":"stop"}]}\n\n' + END)
    assert server.connections == 1


async def test_json_in_the_place_of_a_stream_is_an_answer() -> None:
    message = {"role": "assistant", "content": "Hello"}
    server = Server(_refusing(200, {"model": "theirs", "choices": [{"message": message, "finish_reason": "stop"}]}))
    async with _serving(server), _worker(server) as worker:
        first, *_ = (await _read_all(worker)).split(b"\n\n")
    assert orjson.loads(first.removeprefix(b"data: "))["choices"][0]["delta"] == message


@pytest.mark.parametrize("blocks", [(), (EVENT,), (EVENT, b'data: {"half')])
async def test_an_answer_without_its_end_is_a_crash(blocks: tuple[bytes, ...]) -> None:
    server = Server(_streaming(*blocks))
    async with _serving(server), _worker(server) as worker:
        with pytest.raises(WorkerCrashed, match="stopped before its end"):
            await _read_all(worker)


async def test_a_connection_that_breaks_in_an_answer_is_a_crash_and_no_second_try() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + _chunk(EVENT))
        await writer.drain()
        writer.transport.abort()

    one, other = Server(answer), Server(answer)
    async with _serving(one, other), _worker(one, other) as worker:
        with pytest.raises(WorkerCrashed, match="broke off while it answered"):
            await _read_all(worker)
    assert len(one.requests) + len(other.requests) == 1


async def test_a_server_that_goes_before_it_answers_is_replaced_by_another() -> None:
    async def hang_up(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    one, other = Server(hang_up), Server(_streaming(EVENT, END))
    async with _serving(one, other), _worker(one, other) as worker:
        assert await _read_all(worker)
        assert len(other.requests) == 1


async def test_a_server_that_is_full_is_replaced_by_another() -> None:
    one, other = Server(_refusing(429, {"error": {"message": "full"}})), Server(_streaming(EVENT, END))
    async with _serving(one, other), _worker(one, other) as worker:
        assert await _read_all(worker)


async def test_where_all_are_full_the_client_learns_when_to_come_back() -> None:
    server = Server(_refusing(429, {"error": {"message": "full"}}, b"retry-after: 17"))
    async with _serving(server), _worker(server) as worker:
        with pytest.raises(QueueFull, match="full") as refused:
            await _read_all(worker)
    assert refused.value.retry_after_seconds == 17


async def test_the_server_with_the_fewest_requests_is_asked() -> None:
    go_on = asyncio.Event()

    async def slow(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + _chunk(EVENT))
        await go_on.wait()
        writer.write(_chunk(END) + b"0\r\n\r\n")

    one, other = Server(slow), Server(slow)
    async with _serving(one, other), _worker(one, other) as worker:
        asked = [asyncio.create_task(_read_all(worker)) for _ in range(6)]
        await eventually_async(lambda: len(one.requests) + len(other.requests) == 6)
        assert [len(one.requests), len(other.requests)] == [3, 3]
        go_on.set()
        await asyncio.gather(*asked)


@pytest.mark.promise("vllm-crush.pooling.health")
async def test_a_server_that_is_gone_gets_no_requests_until_it_is_back() -> None:
    one, other = Server(_streaming(EVENT, END)), Server(_streaming(EVENT, END))
    async with _serving(one, other), _worker(one, other, health_seconds=0.05) as worker:
        await one.stop()
        await eventually_async(lambda: any("is out" in line for line in worker.process.stderr_lines()))
        for _ in range(4):
            await _read_all(worker)
        assert [len(one.requests), len(other.requests)] == [0, 4]
        await one.start(one.port)
        await eventually_async(lambda: worker.process.stderr_lines()[-1].endswith("answers"))
        await asyncio.gather(*(_read_all(worker) for _ in range(4)))
        assert len(one.requests) > 0
        assert worker.process.is_running


async def test_without_any_server_the_worker_has_ended() -> None:
    server = Server(_streaming(EVENT, END))
    async with _serving(server), _worker(server, health_seconds=0.05) as worker:
        await server.stop()
        async with asyncio.timeout(5):
            await worker.process.wait()
        with pytest.raises(ModelFailed, match="cannot be reached"):
            await _read_all(worker)
        assert worker.process.describe_exit().startswith(f"has no server that can be used: 127.0.0.1:{server.port}: ")
        await server.start()


async def test_a_health_check_that_fails_does_not_end_an_answer() -> None:
    go_on = asyncio.Event()

    async def slow(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + _chunk(EVENT))
        await go_on.wait()
        writer.write(_chunk(END) + b"0\r\n\r\n")

    server = Server(slow)
    async with _serving(server), _worker(server, health_seconds=0.05) as worker:
        asked = asyncio.create_task(_read_all(worker))
        await eventually_async(lambda: server.requests)
        server.models = _whole(500, b"{}")
        await eventually_async(lambda: any("is out" in line for line in worker.process.stderr_lines()))
        assert worker.process.is_running
        go_on.set()
        assert (await asked).endswith(END)
        await eventually_async(lambda: not worker.process.is_running)


async def test_requests_of_a_worker_that_is_ended_by_us_say_why() -> None:
    async def silent(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    server = Server(silent)
    async with _serving(server), _worker(server) as worker:
        asked = asyncio.create_task(_read_all(worker))
        await eventually_async(lambda: worker.open_requests == 1)
        assert worker.silent_seconds(asyncio.get_running_loop().time() + 3) == pytest.approx(3, abs=1)
        assert await worker.close(unloaded_by_force) == {}
        with pytest.raises(ModelUnloaded):
            await asked


async def test_a_request_that_goes_in_a_circle_is_stopped() -> None:
    server = Server(_streaming(EVENT, END))
    async with _serving(server), _worker(server) as worker:
        token = CALL_DEPTH.set(DEEPEST)
        try:
            with pytest.raises(EngineError, match="leads back") as refused:
                await _read_all(worker)
        finally:
            CALL_DEPTH.reset(token)
    assert refused.value.details["reason"] == "circle"
    assert not server.requests


async def test_embeddings_and_questions_are_whole_answers() -> None:
    body = orjson.dumps({"model": "theirs", "data": []})

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_whole(200, body))

    server = Server(answer)
    async with _serving(server), _worker(server, model="second") as worker:
        assert await worker.call("embeddings", {"input": "x"}) == {"model": "ours", "data": []}
        assert await worker.fetch("/tokenize", {"content": "x"}) == orjson.loads(body)
    assert server.requests[0].endswith(b'{"input":"x","model":"second"}')
    assert server.requests[1].startswith(b"POST /tokenize ")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"message": "Incorrect API key provided: the-secret-key"}}, EngineError),
        (400, {"error": {"message": "bad the-secret-key", "param": "top_p"}}, InvalidRequest),
        (500, {"detail": "the-secret-key"}, EngineError),
    ],
)
async def test_a_key_is_not_repeated(status: int, body: object, kind: type[ModelhostError]) -> None:
    server = Server(_refusing(status, body))
    async with _serving(server), _worker(server) as worker:
        with pytest.raises(kind) as refused:
            await _read_all(worker)
    assert "the-secret-key" not in refused.value.message


@pytest.mark.parametrize(
    ("models", "problem", "reason"),
    [
        (_whole(401, b"{}"), "it refuses the key", "refused"),
        (_whole(200, b"<html>"), "does not list models", "refused"),
        (_whole(200, b'{"data": [{"id": "a"}, {"id": "b"}]}'), 'it has no model "wanted"; it has: a, b', "refused"),
        (_whole(503, b"{}"), "it answered 503", "unreachable"),
        (_whole(301, b"", b"location: x"), "it answered 301 to GET /v1/models: is that the base URL", "refused"),
    ],
)
async def test_a_server_that_cannot_be_used_says_why(models: bytes, problem: str, reason: str) -> None:
    server = Server(_streaming(END), models)
    async with _serving(server):
        with pytest.raises(WorkerStartFailed, match="has no server that can be used") as failed:
            async with _worker(server, model="wanted"):
                pytest.fail("it cannot be used")
    assert problem in failed.value.message
    assert failed.value.details["reason"] == reason


async def test_certificates_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/none.pem")
    target = RemoteTarget(urls=("https://127.0.0.1:1/v1",))
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: /none\.pem cannot be used"):
        await RemoteWorker.begin(target, Remote(), model="ours", timeout_seconds=5)


async def test_a_server_that_lists_no_models_is_taken_at_its_word() -> None:
    server = Server(_streaming(EVENT, END), _whole(404, b"{}"))
    async with _serving(server), _worker(server, model="theirs") as worker:
        assert await _read_all(worker)

"""A running host as its clients see it: what is sent, what comes back, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest

from modelhost.client.remote import RemoteClient
from modelhost.errors import (
    ConfigError,
    DownloadFailed,
    HostUnreachable,
    InsufficientMemory,
    ModelNotFound,
    QueueFull,
    Unauthorized,
    WorkerCrashed,
)
from modelhost.exchange.caller import Caller
from modelhost.exchange.events import Text
from modelhost.operations.model_loading import CONFIGURE, LOAD, PULL, ConfigParameters, LoadParameters, PullParameters
from modelhost.operations.models import INFO, LIST, OneModel
from modelhost.operations.operation import NoParameters, Progress
from modelhost.operations.perform import OperationCall
from modelhost.operations.remote_calls import event_of
from tests.support.mcp_peers import free_port

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
REQUEST = {"messages": [{"role": "user", "content": "Hello"}]}


class FakeHost:
    """Answers each request as the next of ``answers`` says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.gone = asyncio.Event()
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append((request, headers, json.loads(body) if body else None))
                await self.answers.pop(0)(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.close()


def whole(payload: Any, status: int = 200, **headers: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body)

    return answer


def stream(*pieces: bytes, ends: bool = True) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0)
        if ends:
            writer.write(b"0\r\n\r\n")

    return answer


def cut_off(*pieces: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        await stream(*pieces, ends=False)(writer)
        await writer.drain()
        writer.transport.abort()

    return answer


def error(code: str, status: int, **more: Any) -> Answer:
    return whole({"error": {"message": f"so {code}", "code": code, **more}}, status)


@pytest.fixture
async def fake() -> AsyncIterator[FakeHost]:
    host = FakeHost()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        host.url = f"http://127.0.0.1:{port}"
        yield host


@asynccontextmanager
async def client_of(host: FakeHost, *answers: Answer, api_key: str | None = None) -> AsyncIterator[RemoteClient]:
    host.answers = list(answers)
    async with asyncio.timeout(10), RemoteClient(host.url, api_key) as client:
        yield client


async def text_of(client: RemoteClient) -> str:
    async with client.chat(REQUEST) as pieces:
        return "".join([event.text async for piece in pieces for event in piece if isinstance(event, Text)])


async def test_an_operation_goes_over_its_route_and_its_result_comes_back(fake: FakeHost) -> None:
    async with client_of(fake, whole(LOAD.example_answer), whole(INFO.example_answer), api_key="sesame") as client:
        loading = await client.run(LOAD, LoadParameters.model_validate(LOAD.example))
        assert loading.model_dump(mode="json").items() >= dict(LOAD.example_answer).items()
        await client.run(INFO, OneModel.model_validate({"model_id": "org/a b"}))
    (load, headers, body), (info, _, none) = fake.asked
    assert load == "POST /v1/models/load HTTP/1.1"
    assert body == LOAD.example
    assert headers["authorization"] == "Bearer sesame"
    assert info == "GET /v1/models/org/a%20b/info HTTP/1.1"
    assert none is None


async def test_an_operation_that_tells_how_far_it_is_comes_as_events(fake: FakeHost) -> None:
    told: list[Progress] = []
    half = event_of("progress", {"fraction": 0.5, "message": "downloading"})
    result = event_of("result", PULL.example_answer)
    pulling = PullParameters(model="org/name")
    async with client_of(fake, stream(b": keep-alive\n\n" + half[:9], half[9:], result)) as client:
        pulled = await client.run(PULL, pulling, told.append)
    assert pulled.model_dump(mode="json") == PULL.example_answer
    assert told == [Progress(fraction=0.5, message="downloading")]
    assert fake.asked[0][1]["accept"] == "text/event-stream"
    failed = b'data: {"error": {"message": "the disk is full", "code": "download_failed"}}\n\n'
    for answer, kind, message in (
        (stream(half, failed), DownloadFailed, "the disk is full"),
        (stream(half), HostUnreachable, "disconnected"),
        (cut_off(half), HostUnreachable, "disconnected"),
        (stream(b"data: <html>\n\n"), HostUnreachable, "is it a modelhost"),
    ):
        async with client_of(fake, answer) as client:
            with pytest.raises(kind, match=message):
                await client.run(PULL, pulling)


async def test_the_list_of_models_comes_in_openais_shape(fake: FakeHost) -> None:
    cards = LIST.example_answer["models"]
    async with client_of(fake, whole({"object": "list", "data": cards})) as client:
        found = await client.run(LIST, NoParameters())
    assert [card.id for card in found.models] == [card["id"] for card in cards]
    assert fake.asked[0][0] == "GET /v1/models HTTP/1.1"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("model_not_found", 404, ModelNotFound),
        ("invalid_api_key", 401, Unauthorized),
        ("insufficient_memory", 507, InsufficientMemory),
        ("of_tomorrow", 418, HostUnreachable),
    ],
)
async def test_an_error_is_the_one_that_the_host_raised(
    fake: FakeHost, code: str, status: int, kind: type[Exception]
) -> None:
    async with client_of(fake, error(code, status, param="model_id", details={"required_bytes": 7})) as client:
        with pytest.raises(kind, match=f"so {code}") as caught:
            await client.run(LIST, NoParameters())
    assert caught.value.details == {"required_bytes": 7}  # type: ignore[attr-defined]
    assert caught.value.param == "model_id"  # type: ignore[attr-defined]


async def test_when_to_come_back_is_not_lost(fake: FakeHost) -> None:
    refusal = whole({"error": {"message": "full", "code": "queue_full"}}, 503, retry_after="7")
    async with client_of(fake, refusal) as client:
        with pytest.raises(QueueFull) as caught:
            await client.run(LIST, NoParameters())
    assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize("answer", [whole(b"<html>", 502), whole(b"<html>"), whole({"models": 1}), whole([])])
async def test_what_no_modelhost_would_say_is_said_to_be_that(fake: FakeHost, answer: Answer) -> None:
    async with client_of(fake, answer) as client:
        with pytest.raises(HostUnreachable, match="is it a modelhost"):
            await client.run(LIST, NoParameters())


async def test_a_stream_is_given_in_pieces_without_comments(fake: FakeHost) -> None:
    blocks = (b": keep-alive\n\n", CHUNK[:20], CHUNK[20:] + CHUNK[:5], CHUNK[5:], DONE)
    async with client_of(fake, stream(*blocks)) as client, client.chat(REQUEST, Caller(depth=2)) as pieces:
        found = [piece async for piece in pieces]
    assert [event for piece in found for event in piece] == [Text(text="Hi"), Text(text="Hi")]
    _, headers, body = fake.asked[0]
    assert body == {**REQUEST, "stream": True}
    assert headers["x-modelhost-depth"] == "2"


async def test_an_error_in_a_stream_is_raised_with_its_source(fake: FakeHost) -> None:
    payload = {"message": "gone", "code": "worker_crashed", "source": {"kind": "worker", "model": "m", "worker": "w"}}
    event = b"data: " + json.dumps({"error": payload}).encode() + b"\n\n"
    async with client_of(fake, stream(CHUNK, event)) as client:
        with pytest.raises(WorkerCrashed, match="gone") as caught:
            await text_of(client)
    assert caught.value.source == {"kind": "worker", "model": "m", "worker": "w"}


@pytest.mark.parametrize("answer", [cut_off(CHUNK), stream(CHUNK), stream(), cut_off()])
async def test_a_host_that_goes_away_in_the_middle_is_an_error(fake: FakeHost, answer: Answer) -> None:
    async with client_of(fake, answer) as client:
        with pytest.raises(HostUnreachable, match="went away"):
            await text_of(client)


async def test_a_refused_chat_is_refused_on_entering(fake: FakeHost) -> None:
    async with client_of(fake, error("model_not_found", 404)) as client:
        with pytest.raises(ModelNotFound):
            async with client.chat(REQUEST):
                pytest.fail("it was entered")


async def test_leaving_a_chat_closes_its_connection(fake: FakeHost) -> None:
    endless = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        await stream(CHUNK, ends=False)(writer)
        endless.set()

    async with client_of(fake, answer) as client:
        async with client.chat(REQUEST) as pieces:
            await anext(aiter(pieces))
            await endless.wait()
        await asyncio.wait_for(fake.gone.wait(), 5)


async def test_nobody_at_the_address_is_an_error_that_says_what_to_do() -> None:
    async with RemoteClient(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(HostUnreachable, match="modelhost serve"):
            await client.run(LIST, NoParameters())


@pytest.mark.promise("vllm-crush.caching.models")
async def test_request_defaults_are_remembered_for_a_moment_and_until_they_are_set(fake: FakeHost) -> None:
    info = {**INFO.example_answer, "config": {**INFO.example_answer["config"], "defaults": {"temperature": 0.1}}}
    cards = {"object": "list", "data": LIST.example_answer["models"]}
    configured = whole(CONFIGURE.example_answer)
    async with client_of(fake, whole(cards), whole(info), configured, whole(info)) as client:
        assert await client.request_defaults(None) == {"temperature": 0.1}
        assert await client.request_defaults(None) == {"temperature": 0.1}
        assert len(fake.asked) == 2
        await client.run(CONFIGURE, ConfigParameters.model_validate(CONFIGURE.example))
        assert await client.request_defaults("m") == {"temperature": 0.1}
    assert [request.split()[1] for request, _, _ in fake.asked][-1] == "/v1/models/m/info"


async def test_a_host_without_models_has_no_defaults(fake: FakeHost) -> None:
    async with client_of(fake, whole({"object": "list", "data": []})) as client:
        assert await client.request_defaults(None) == {}


async def test_notes_are_the_hosts_own_business(fake: FakeHost) -> None:
    call = OperationCall(operation="list-models", caller=Caller(face="mcp-stdio"), kept=dict)
    async with client_of(fake) as client, client.performing(call):
        pass
    assert (fake.asked, call.outcome) == ([], "ok")


def test_a_key_that_http_does_not_allow_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="characters that HTTP does not allow"):
        RemoteClient("http://127.0.0.1:1", "schlüssel\n")


@pytest.mark.parametrize(("keeps", "connections"), [(True, 1), (False, 3)], ids=["context", "one-by-one"])
async def test_connections_are_kept_as_long_as_the_context_lasts(fake: FakeHost, keeps: bool, connections: int) -> None:
    fake.answers = [whole({"object": "list", "data": []}), stream(CHUNK, DONE), whole({"object": "list", "data": []})]
    client = RemoteClient(fake.url)
    async with asyncio.timeout(10), client if keeps else nullcontext():
        assert await client.models() == []
        assert await text_of(client) == "Hi"
        assert await client.models() == []
    assert fake.connections == connections


async def test_an_answer_that_was_left_in_the_middle_leaves_no_connection_for_the_next(fake: FakeHost) -> None:
    async with client_of(fake, stream(CHUNK, ends=False), whole({"object": "list", "data": []})) as client:
        async with client.chat(REQUEST) as pieces:
            await anext(aiter(pieces))
        assert await client.models() == []
    assert fake.connections == 2

"""The host's side of the wire, against a listener that answers whatever the test says."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import closing
from dataclasses import replace
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import orjson
import pytest

from modelhost.engines.scripted.engine import Scripted
from modelhost.errors import (
    ContextLengthExceeded,
    EngineError,
    WorkerCrashed,
)
from modelhost.exchange.payloads import File, Form, Raw
from modelhost.workers.client import WorkerClient
from modelhost.workers.connection import is_listening
from tests.support.answering_worker import STREAM_HEAD, answering_worker, chunk, read_all, whole_answer
from tests.support.fake_process import FakeProcess


async def test_a_chat_gets_what_its_worker_needs_where_the_request_is_silent() -> None:
    bodies: list[dict[str, Any]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{")
        bodies.append(orjson.loads(b"{" + await reader.readuntil(b"}")))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with answering_worker(answer) as (worker, process):
        process.ready = replace(process.ready, chat_stops=("end",), chat_defaults={"add_special_tokens": True})
        await worker.call("chat", {"a": 1})
        await worker.call("chat", {"add_special_tokens": False, "stop": "x"})
        await worker.call("completions", {"a": 1})
    assert bodies == [
        {"a": 1, "add_special_tokens": True, "stop": ["end"]},
        {"add_special_tokens": False, "stop": ["x", "end"]},
        {"a": 1},
    ]


@pytest.mark.parametrize("reports_begin", [True, False])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 102 Processing\r\n\r\n", STREAM_HEAD])
async def test_a_lost_request_was_not_begun_if_a_worker_that_reports_that_had_not_done_so(
    sent: bytes, reports_begin: bool
) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        process.die()

    async with answering_worker(answer) as (worker, process):
        process.ready = replace(process.ready, reports_begin=reports_begin)
        with pytest.raises(WorkerCrashed) as crashed:
            await worker.call("speech", {})
    assert crashed.value.was_begun == bool(sent or not reports_begin)


async def test_a_request_that_was_begun_is_answered_like_any_other() -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async with answering_worker(answer) as (worker, _):
        assert await worker.call("speech", {}) == {}


async def test_a_request_carries_the_workers_key() -> None:
    seen: list[bytes] = []
    async with answering_worker(whole_answer(200, b'{"fine": 1}'), seen) as (worker, _):
        assert await worker.call("embeddings", {"input": "x"}) == {"fine": 1}
    assert b"Authorization: Bearer secret\r\n" in seen[0]
    assert seen[0].startswith(b"POST /v1/embeddings ")


async def test_an_error_answer_is_translated_by_the_engine() -> None:
    body = {"error": {"type": "exceed_context_size_error", "message": "m", "n_prompt_tokens": 9, "n_ctx": 8}}
    async with answering_worker(whole_answer(400, orjson.dumps(body))) as (worker, _):
        with pytest.raises(ContextLengthExceeded, match="is 8 tokens, and the prompt is too long: it has 9"):
            await worker.call("chat", {})
        with pytest.raises(ContextLengthExceeded):
            async with worker.stream("chat", {}):
                pytest.fail("a refused request is no stream")


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[]", b'{"error": "text"}'])
async def test_an_error_answer_in_no_known_shape_is_an_error_of_the_engine(body: bytes) -> None:
    async with answering_worker(whole_answer(500, body)) as (worker, _):
        with pytest.raises(EngineError):
            await worker.call("embeddings", {})


async def test_a_good_answer_that_is_no_json_is_an_error_of_the_engine() -> None:
    async with answering_worker(whole_answer(200, b"not json")) as (worker, _):
        with pytest.raises(EngineError, match="not JSON"):
            await worker.call("embeddings", {})


async def test_a_stream_is_read_to_its_end() -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    async with answering_worker(answer) as (worker, _):
        read = await read_all(worker)
    assert read == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize("headers_sent", [True, False])
async def test_a_connection_lost_by_a_dying_worker_is_a_crash_with_its_last_lines(headers_sent: bool) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n") if headers_sent else b"")
        await writer.drain()
        writer.transport.abort()
        process.die()

    async with answering_worker(answer) as (worker, process):
        with pytest.raises(WorkerCrashed, match="was ended by SIGKILL") as crashed:
            await read_all(worker)
    assert crashed.value.details["stderr"] == ["the fake's last line"]
    assert crashed.value.source == {"kind": "worker", "model": "m", "worker": process.name}


async def test_a_connection_lost_by_a_living_worker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.workers.client.SECONDS_TO_LEARN_OF_A_CRASH", 0.05)

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with answering_worker(answer) as (worker, _):
        with pytest.raises(EngineError, match="still running"):
            await worker.call("embeddings", {})


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "left by somebody else"])
async def test_a_worker_at_whose_socket_nobody_listens_is_ended_and_the_request_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    monkeypatch.setattr("modelhost.workers.client.SECONDS_TO_LEARN_OF_A_CRASH", 0.05)
    path = tmp_path / "s.sock"
    if not is_deleted:
        with closing(socket.socket(socket.AF_UNIX)) as left:
            left.bind(str(path))
    process = FakeProcess()
    process.ready = replace(process.ready, url=f"unix://{path}")
    worker = WorkerClient(process=process, engine=Scripted(), model="m", api_key="secret")
    with pytest.raises(WorkerCrashed, match="did not listen at its address") as ended:
        await worker.call("embeddings", {})
    assert ended.value.details["reason"] == "unreachable"
    assert not process.is_running


async def test_a_worker_is_not_blamed_when_the_host_has_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_descriptors(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("modelhost.workers.client.SECONDS_TO_LEARN_OF_A_CRASH", 0.05)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", out_of_descriptors)
    process = FakeProcess()
    worker = WorkerClient(process=process, engine=Scripted(), model="m", api_key="secret")
    assert await is_listening(process.ready.url)
    with pytest.raises(EngineError, match="Too many open files"):
        await worker.call("embeddings", {})
    assert process.is_running


async def test_whether_somebody_listens_is_seen_by_connecting(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    assert not await is_listening(f"unix://{path}")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        assert await is_listening(f"unix://{path}")
        path.unlink()
        assert not await is_listening(f"unix://{path}")


async def test_leaving_a_stream_closes_its_connection() -> None:
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await writer.drain()
        await reader.read()
        gone.set()

    async with answering_worker(answer) as (worker, _):
        async with worker.stream("chat", {}) as blocks:
            await blocks.read()
        async with asyncio.timeout(5):
            await gone.wait()


async def test_a_refused_and_a_whole_answer_leave_no_open_request() -> None:
    async with answering_worker(whole_answer(500, b"{}")) as (worker, _):
        with pytest.raises(EngineError):
            await worker.call("embeddings", {})
        assert worker.open_requests == 0
    async with answering_worker(whole_answer(200, b"{}")) as (worker, _):
        await worker.call("embeddings", {})
        assert worker.open_requests == 0
        assert worker.last_output_at <= asyncio.get_running_loop().time()


async def test_forms_and_bytes_go_to_and_fro() -> None:
    bodies: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.read(1000))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: 4\r\n\r\nRIFF")

    heads: list[bytes] = []
    async with answering_worker(answer, heads) as (worker, _):
        file = File(name="a b.wav", content_type="audio/wav", data=b"\x00\r\n--")
        form = Form(fields={"model": "m", "language": "zh-\u4e2d"}, files={"file": file})
        async with worker.send("chat", form) as received:
            assert received.content_type == "audio/wav"
            assert await received.read_all() == b"RIFF"
        async with worker.send("chat", Raw(content_type="audio/flac", data=b"fLaC")) as received:
            assert await received.read_all() == b"RIFF"
    head = BytesParser().parsebytes(heads[0].split(b"\r\n", 1)[1].strip() + b"\r\n\r\n" + bodies[0])
    parts = {part.get_param("name", header="content-disposition"): part for part in head.get_payload()}
    assert {name: part.get_payload(decode=True) for name, part in parts.items()} == {
        "model": b"m",
        "language": "zh-\u4e2d".encode(),
        "file": b"\x00\r\n--",
    }
    assert (parts["file"].get_filename(), parts["file"].get_content_type()) == ("a b.wav", "audio/wav")
    assert b"content-type: audio/flac\r\n" in heads[1].lower()
    assert bodies[1] == b"fLaC"

"""The load generator: what it counts, and what it calls an error. Nothing here looks at a clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.client import Exchange, run
from bench.figures import CHAT, DOORS, MESSAGES, OLLAMA, Call, Job
from bench.loads import FULL, loads
from bench.measure import load_generator, measure_row
from bench.sides import Side, StartError, bare_worker
from modelhost.engines.launch import ModelSpec
from modelhost.engines.scripted.engine import Scripted

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [b'data: {"content":"a\\ndata: b"}\n\n', b'data: {"content":"\\r\\n"}\n\n', b"data: [DONE]\n\n"]
EVENTS_OF = {
    CHAT: EVENTS,
    MESSAGES: [
        b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"\\n\\n"}}\n\n',
        b'event: ping\ndata: {"type":"ping"}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ],
    OLLAMA: [
        b'{"message":{"content":"\\n"},"done":false}\n',
        b' {"message":{"content":"b"},"done":false}\n',
        b'{"message":{"content":""},"done_reason":"stop","done":true}\n',
    ],
}

WITH_USAGE = {"stream_options": {"include_usage": True}}


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


def fed(data: bytes, size: int, *, door: str = CHAT, counts_usage: bool = False) -> Exchange:
    finished = asyncio.get_running_loop().create_future()
    exchange = Exchange(b"", finished, DOORS[door], counts_usage=counts_usage)
    for start in range(0, len(data), size):
        exchange.data_received(data[start : start + size])
    return exchange


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    log = tmp_path_factory.mktemp("bench") / "log"
    with bare_worker(Scripted(), ModelSpec(name="scripted"), log) as side:
        yield side


def call(side: Side, tokens: int, *, url: str | None = None) -> Call:
    body = {"messages": [{"role": "user", "content": f"/tokens {tokens}"}]}
    return Call(url=url or side.url, api_key=side.api_key, body=body)


def job(side: Side, *, url: str | None = None, tokens: int = 20, expected: int | None = 23, streams: int = 4) -> Job:
    return Job(
        calls=(call(side, tokens, url=url),),
        streams=streams,
        requests=2,
        seconds=0.0,
        expected_events=expected,
    )


@asynccontextmanager
async def relay(target: str) -> AsyncIterator[str]:
    """A stand-in for a host: passes bytes on, a few at a time."""
    port = urlsplit(target).port

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while data := await reader.read(100):
                writer.write(data)
                await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, upstream[1]), pipe(upstream[0], writer), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("read_size", [1, 2, 7, 64, 10_000])
@pytest.mark.parametrize("chunk_size", [1, 3, 11, 10_000])
@pytest.mark.parametrize("door", EVENTS_OF)
async def test_events_are_counted_wherever_the_stream_is_cut(door: str, read_size: int, chunk_size: int) -> None:
    events = EVENTS_OF[door]
    exchange = fed(HEAD + chunked(b"".join(events), chunk_size), read_size, door=door)
    assert exchange.events == len(events)
    assert sum(count for _, count in exchange.reads) == len(events)
    assert exchange.problem is None
    assert exchange.finished.done()
    assert exchange.is_complete()


@pytest.mark.parametrize("door", EVENTS_OF)
async def test_stream_that_breaks_off_is_not_complete(door: str) -> None:
    exchange = fed(HEAD + chunked(b"".join(EVENTS_OF[door]), 50)[:60], 1000, door=door)
    exchange.connection_lost(None)
    assert exchange.finished.done()
    assert not exchange.is_complete()


async def test_error_status_and_error_event_are_problems() -> None:
    assert fed(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 1000).problem == "HTTP/1.1 503 Service Unavailable"
    assert fed(HEAD + chunked(b'data: {"error": {}}\n\n', 100), 1000).problem == "error event"


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 64, "total_tokens": 71}}\n\n'
TALK = [
    b": keepalive 1/1\n\n",
    b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n',
    b'data: {"choices": [{"delta": {"content":"\\"a"}}]}\n\n',
    USAGE,
    b"data: [DONE]\n\n",
]


@pytest.mark.parametrize("chunk_size", [3, 11, 10_000])
async def test_tokens_are_read_from_the_usage_wherever_the_stream_is_cut(chunk_size: int) -> None:
    exchange = fed(HEAD + chunked(b"".join(TALK), chunk_size), 10_000, counts_usage=True)
    assert exchange.tokens == 64
    assert exchange.is_complete()


async def test_first_token_is_the_first_text_and_no_comment() -> None:
    exchange = fed(HEAD, 1000, counts_usage=True)
    for number, event in enumerate(TALK):
        exchange.data_received(event)
        assert (exchange.text_at is not None) == (number >= 2)
    assert exchange.first_at > exchange.reads[0][0]


async def test_first_token_is_behind_the_leading_events_of_a_door() -> None:
    exchange = Exchange(b"", asyncio.get_running_loop().create_future(), leading_events=2)
    exchange.reads = [(1.0, 1), (2.0, 1), (3.0, 4), (4.0, 1)]
    assert exchange.first_at == 3.0
    exchange.reads = [(1.0, 3), (2.0, 1)]
    assert exchange.first_at == 1.0


async def test_answer_without_chunks_by_an_old_server_is_whole_when_it_closes() -> None:
    exchange = fed(b"HTTP/1.0 200 OK\r\n\r\n" + b"".join(TALK), 7, counts_usage=True)
    exchange.connection_lost(None)
    assert (exchange.problem, exchange.is_complete(), exchange.tokens) == (None, True, 64)


async def test_other_number_of_tokens_than_was_asked_for_is_an_error(bare: Side) -> None:
    asked = replace(job(bare, expected=None, streams=1), expected_tokens=21)
    asked = replace(asked, calls=tuple(replace(each, body={**each.body, **WITH_USAGE}) for each in asked.calls))
    async with asyncio.timeout(10):
        seen = await run(asked)
        right = await run(replace(asked, expected_tokens=20))
    assert seen.errors == {"20 tokens instead of 21": 2}
    assert (right.errors, right.tokens) == ({}, 40)
    assert right.tokens_per_second == pytest.approx(40 / right.seconds)


async def test_streams_of_a_real_worker_are_complete(bare: Side) -> None:
    async with asyncio.timeout(10):
        seen = await run(job(bare))
    assert (seen.requests, seen.events, seen.errors) == (8, 8 * 23, {})
    assert seen.first_token_p50 > 0


async def test_same_job_through_a_relay_sees_the_same_events(bare: Side) -> None:
    async with asyncio.timeout(10), relay(bare.url) as url:
        seen = await run(job(bare, url=url))
    assert (seen.requests, seen.events, seen.errors) == (8, 8 * 23, {})


async def test_answers_of_the_wrong_length_are_errors(bare: Side) -> None:
    async with asyncio.timeout(10):
        seen = await run(job(bare, tokens=19, streams=1))
    assert seen.errors == {"22 events instead of 23": 2}


async def test_call_goes_to_the_path_of_its_door(bare: Side) -> None:
    asked = job(bare, streams=1)
    async with asyncio.timeout(10):
        seen = await run(replace(asked, calls=(replace(asked.calls[0], door=MESSAGES),)))
    assert seen.errors == {"HTTP/1.1 404 Not Found": 2}


async def test_streams_take_the_calls_in_turns_and_begin_with_one_after_the_other(bare: Side) -> None:
    calls = (call(bare, 20), call(bare, 40))
    async with asyncio.timeout(10):
        one = await run(replace(job(bare, expected=None, streams=1), calls=calls, requests=3))
        two = await run(replace(job(bare, expected=None, streams=2), calls=calls, requests=1))
    assert one.events == 23 + 43 + 23
    assert two.events == 23 + 43


async def test_first_tokens_are_told_in_the_order_of_the_calls_if_they_are_kept(bare: Side) -> None:
    calls = (call(bare, 20), replace(call(bare, 20), door=MESSAGES))
    asked = replace(job(bare, streams=1), calls=calls, requests=4)
    async with asyncio.timeout(10):
        seen = await run(replace(asked, keeps_first_tokens=True))
        other = await run(asked)
    assert [seconds is not None for seconds in seen.first_tokens] == [True, False, True, False]
    assert list(other.first_tokens) == []


async def test_server_that_is_not_there_is_an_error_and_no_exception(bare: Side) -> None:
    async with relay(bare.url) as url:
        pass
    async with asyncio.timeout(10):
        seen = await run(job(bare, url=url, streams=1))
    assert sum(seen.errors.values()) == 2


def test_row_is_measured_by_a_process_of_its_own_in_turns(bare: Side) -> None:
    (load,) = [load for load in loads(quick=True, streams=(2,)) if load.name == FULL]
    with load_generator() as generator:
        row = measure_row(generator, load, 2, (bare, bare), rounds=1)
    assert (len(row.bare), len(row.host)) == (1, 1)
    assert row.errors("bare") == row.errors("host") == {}
    assert row.host_rss_bytes


def test_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    spec = ModelSpec(name="scripted", options={"fail_load": "out of luck"})
    with pytest.raises(StartError, match="out of luck"), bare_worker(Scripted(), spec, tmp_path / "log"):
        pass

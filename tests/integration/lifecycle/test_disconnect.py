"""A client that leaves gives its place up at once, whatever it was waiting for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import openai
import psutil
import pytest

from tests.support.eventually import eventually
from tests.support.raw_http import TIMEOUT_SECONDS, read_all, read_until, send_chat
from tests.support.serving import ServedHost

StartHost = Callable[..., ServedHost]
SECONDS = 1.0  # typically it takes less than 0.2
MB = 1_000_000


def _in_flight(host: ServedHost) -> float:
    return host.metric("modelhost_requests_in_flight")


def _is_idle(host: ServedHost) -> bool:
    return _in_flight(host) == 0


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_is_counted(stream: bool, scripted_host: ServedHost) -> None:
    eventually(lambda: _is_idle(scripted_host))
    cancelled = scripted_host.metric("modelhost_cancelled_total")
    with closing(send_chat(scripted_host.url, "/hang 3", stream=stream)):
        eventually(lambda: _in_flight(scripted_host) == 1)
    eventually(lambda: _is_idle(scripted_host), seconds=SECONDS)
    eventually(lambda: scripted_host.metric("modelhost_cancelled_total") == cancelled + 1)


@pytest.mark.parametrize("n", [1, 2])
def test_tokens_that_were_generated_before_the_client_left_are_counted(n: int, scripted_host: ServedHost) -> None:
    eventually(lambda: _is_idle(scripted_host))

    def counted() -> tuple[float, float]:
        found = scripted_host.http.get("/v1/monitor/metrics?duration_seconds=600&metrics=throughput").json()
        rate = found["metrics"]["throughput"]["tokens_per_second"]
        return scripted_host.metric("modelhost_tokens_out_total"), rate

    before, rate_before = counted()
    with closing(send_chat(scripted_host.url, "/hang 40 /tokens 100", stream=True, n=n)) as connection:
        received = b""
        while received.count(b"data: ") < n * (1 + 40):  # the role, and the tokens
            received += read_until(connection, b"\n\n")
    eventually(lambda: counted()[0] == before + n * 40)
    eventually(lambda: counted()[1] > rate_before)


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_frees_the_slot_of_llama_cpp(stream: bool, nano_host: ServedHost) -> None:
    eventually(lambda: _is_idle(nano_host))
    connection = send_chat(nano_host.url, "Hello!", stream=stream, ignore_eos=True, max_tokens=1800)
    with closing(connection):
        eventually(lambda: _in_flight(nano_host) == 1)
        if stream:
            read_until(connection, b'"content"')
    eventually(lambda: _is_idle(nano_host), seconds=SECONDS)


def test_leaving_before_the_first_token_of_a_long_prompt_frees_the_slot(nano_host: ServedHost) -> None:
    eventually(lambda: _is_idle(nano_host))
    with closing(send_chat(nano_host.url, "word " * 400, stream=True, max_tokens=1000, ignore_eos=True)):
        pass
    eventually(lambda: _is_idle(nano_host), seconds=SECONDS)


def test_leaving_the_queue_gives_the_place_up(start_host: StartHost) -> None:
    host = start_host(engine="scripted", max_in_flight=1, queue_size=1)
    with closing(send_chat(host.url, "/hang 1", stream=True)) as first:
        read_until(first, b"data: ")
        with closing(send_chat(host.url, "/echo second", stream=True)):
            eventually(lambda: host.metric("modelhost_queue_length") == 1)
        eventually(lambda: host.metric("modelhost_queue_length") == 0, seconds=SECONDS)
        third = send_chat(host.url, "/echo third", stream=True)
        eventually(lambda: host.metric("modelhost_queue_length") == 1)
    with closing(third):
        assert b"third" in read_all(third)
    eventually(lambda: _is_idle(host))
    assert host.metric("modelhost_cancelled_total") == 2


@pytest.mark.parametrize("engine", ["scripted", "llamacpp"])
def test_64_streams_at_once_all_complete_and_leave_nothing(
    engine: str, scripted_host: ServedHost, nano_host: ServedHost
) -> None:
    host = scripted_host if engine == "scripted" else nano_host
    name = host.http.get("/v1/models").json()["data"][0]["id"]

    async def ask(client: openai.AsyncOpenAI) -> str | None:
        stream = await client.chat.completions.create(
            model=name, messages=[{"role": "user", "content": "/tokens 30"}], stream=True, max_tokens=30
        )
        reasons = [None]
        async with stream:
            async for chunk in stream:
                reasons += [choice.finish_reason for choice in chunk.choices]
        return reasons[-1]

    async def ask_all() -> list[str | None]:
        async with host.async_client() as client:
            return await asyncio.gather(*(ask(client) for _ in range(64)))

    assert set(asyncio.run(ask_all())) <= {"stop", "length"}
    eventually(lambda: _is_idle(host))


def test_a_crowd_that_leaves_in_the_middle_leaves_nothing(scripted_host: ServedHost) -> None:
    with ExitStack() as crowd:
        for _ in range(32):
            crowd.enter_context(closing(send_chat(scripted_host.url, "/tokens 5000 /slow 20", stream=True)))
        eventually(lambda: _in_flight(scripted_host) == 32)
    eventually(lambda: _is_idle(scripted_host), seconds=2 * SECONDS)


def test_a_client_that_reads_slowly_does_not_make_the_host_grow(start_host: StartHost) -> None:
    # An answer of about 45 MB, as fast as the worker can.
    host = start_host(engine="scripted", engine_options={"tokens": 200_000, "context_length": 1_000_000})
    process = psutil.Process(host.pid)
    with closing(send_chat(host.url, "warm up", stream=True, max_tokens=100)) as connection:
        read_all(connection)
    before = process.memory_info().rss
    with closing(send_chat(host.url, "slow", stream=True, small_buffer=True)) as slow:
        read_until(slow, b"data: ")
        # As long as this one takes, the host would have taken the slow one's answer in as well.
        with closing(send_chat(host.url, "fast", stream=True)) as fast:
            size = len(read_all(fast))
        assert size > 30 * MB
        assert process.memory_info().rss - before < 15 * MB
        assert _in_flight(host) == 1
        assert read_all(slow).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_client_that_reads_nothing_is_cut_off_and_its_work_stops(start_host: StartHost) -> None:
    host = start_host(
        engine="scripted",
        slow_reader_timeout=1.0,
        engine_options={"tokens": 200_000, "context_length": 1_000_000},
    )
    with closing(send_chat(host.url, "slow", stream=True, small_buffer=True)) as slow:
        read_until(slow, b"data: ")
        eventually(lambda: host.log_events("slow_reader_cut"))
        eventually(lambda: _is_idle(host))
        assert host.metric("modelhost_cancelled_total") == 1


def test_a_client_that_sends_slowly_is_told_so(start_host: StartHost) -> None:
    host = start_host(engine="scripted", header_timeout=0.5, body_timeout=0.5)
    address = urlsplit(host.url)
    asked = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
    for part, what in ((asked, b"--header-timeout"), (asked + b"\r\n{", b"--body-timeout")):
        with socket.create_connection(
            (str(address.hostname), address.port or 0), timeout=TIMEOUT_SECONDS
        ) as connection:
            connection.sendall(part)
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert what in answer


def test_waiting_streams_get_keep_alive_comments(start_host: StartHost) -> None:
    host = start_host(engine="scripted", keep_alive_interval=0.2, engine_options={"first_token_delay": 1.0})
    with closing(send_chat(host.url, "hello", stream=True)) as connection:
        answer = read_all(connection)
    before, _, after = answer.partition(b"data: ")
    assert b": keep-alive\n\n" in before  # how many there are depends on how busy the machine is
    assert b"data: [DONE]" in after
    # An ordinary client does not notice.
    name = host.http.get("/v1/models").json()["data"][0]["id"]
    chunks = list(
        host.client().chat.completions.create(
            model=name, messages=[{"role": "user", "content": "/echo still here"}], stream=True
        )
    )
    assert "still here" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_many_requests_leave_no_descriptors_and_no_zombies(start_host: StartHost) -> None:
    host = start_host(engine="scripted", alias=["scripted"])
    process = psutil.Process(host.pid)

    def ask(count: int) -> None:
        for number in range(count):
            with closing(send_chat(host.url, "/tokens 3", stream=number % 2 == 0)) as connection:
                if number % 5:
                    read_all(connection)

    ask(20)
    eventually(lambda: _is_idle(host))
    before = process.num_fds()
    ask(200)
    eventually(lambda: _is_idle(host))
    eventually(lambda: process.num_fds() <= before + 2)
    assert [child.status() for child in process.children()] != [psutil.STATUS_ZOMBIE]
    assert len(process.children()) == 1

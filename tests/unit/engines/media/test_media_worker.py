"""The worker for sound: one job at a time, streamed answers, refusals, clients that leave."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from modelhost.engines.media.jobs import BUFFERED, Emit, Job, Jobs
from modelhost.engines.media.routes import MediaRoutes
from modelhost.engines.worker.asgi import ErrorResponse, invalid
from tests.support.asgi import ask

CONFIG = {"name": "tts", "api_key": "key"}
KEY = {"Authorization": "Bearer key"}
SECONDS = 30


def routes(job: Job) -> MediaRoutes:
    return MediaRoutes(CONFIG, {"/say": lambda _raw: (job, "audio/wav")})


async def collected(parts: AsyncGenerator[bytes, None]) -> list[bytes]:
    return [part async for part in parts]


async def test_what_a_job_emits_is_streamed_in_order() -> None:
    def job(emit: Emit) -> None:
        for number in range(3 * BUFFERED):
            assert emit(b"%d" % number)

    assert await collected(Jobs().stream(job)) == [b"%d" % number for number in range(3 * BUFFERED)]


async def test_one_job_runs_at_a_time() -> None:
    running, most = 0, 0

    def job(emit: Emit) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        emit(b"a")
        running -= 1

    jobs = Jobs()
    assert await asyncio.gather(*(collected(jobs.stream(job)) for _ in range(8))) == [[b"a"]] * 8
    assert most == 1


async def test_a_job_is_announced_when_its_turn_has_come() -> None:
    told: list[str] = []
    goes_on = threading.Event()

    def job(emit: Emit) -> None:
        told.append("works")
        emit(b"a")
        goes_on.wait(SECONDS)

    jobs = Jobs()
    async with asyncio.timeout(SECONDS), aclosing(jobs.stream(job, lambda: told.append("first"))) as parts:
        await anext(parts)
        second = asyncio.create_task(collected(jobs.stream(job, lambda: told.append("second"))))
        left = asyncio.create_task(collected(jobs.stream(job, lambda: told.append("third"))))
        await asyncio.sleep(0)
        left.cancel()
        assert told == ["first", "works"]
        goes_on.set()
        assert await second == [b"a"]
    assert told == ["first", "works", "second", "works"]
    assert await collected(jobs.stream(job)) == [b"a"]


async def test_a_client_that_leaves_ends_the_job_at_its_next_part_even_if_it_waits_for_room() -> None:
    has_ended = threading.Event()

    def job(emit: Emit) -> None:
        while emit(b"x"):
            pass
        has_ended.set()

    jobs = Jobs()
    async with asyncio.timeout(SECONDS), aclosing(jobs.stream(job)) as parts:
        assert await anext(parts) == b"x"
    assert await asyncio.to_thread(has_ended.wait, SECONDS)
    assert await collected(jobs.stream(lambda emit: emit(b"next") and None)) == [b"next"]


async def test_a_refusal_before_the_first_part_has_a_status() -> None:
    def job(_emit: Emit) -> None:
        raise invalid("voice: there is none", param="voice")

    answered = await asked(routes(job))
    assert (answered[0], b"there is none" in answered[1]) == (400, True)


async def test_a_failure_before_the_first_part_is_an_error_of_the_engine() -> None:
    def job(_emit: Emit) -> None:
        raise ZeroDivisionError("by zero")

    status, body = await asked(routes(job))
    assert (status, b"ZeroDivisionError: by zero" in body) == (500, True)


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), ErrorResponse(400, {})])
async def test_a_failure_in_the_middle_leaves_the_answer_without_an_end(error: Exception) -> None:
    def job(emit: Emit) -> None:
        emit(b"some")
        raise error

    with pytest.raises((ZeroDivisionError, RuntimeError)):
        await asked(routes(job))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA failed with error out of memory"),
    ],
)
async def test_too_little_memory_has_a_code_of_its_own_and_the_worker_goes_on(error: Exception) -> None:
    has_failed = False

    def job(emit: Emit) -> None:
        nonlocal has_failed
        if not has_failed:
            has_failed = True
            raise error
        emit(b"sound")

    app = routes(job)
    status, body = await asked(app)
    assert (status, json.loads(body)["error"]["type"]) == (507, "out_of_memory")
    assert await asked(app) == (200, b"sound")


async def test_an_answer_has_the_type_of_its_task_and_needs_the_key() -> None:
    app = routes(lambda emit: emit(b"sound") and None)
    assert await asked(app) == (200, b"sound")
    assert (await ask(app, "POST", "/say", body=b"{}")).status == 401
    assert (await ask(app, "POST", "/sing", headers=KEY)).status == 404
    assert (await ask(app, "GET", "/health")).status == 200
    assert b"tts" in (await ask(app, "GET", "/v1/models", headers=KEY)).body


async def asked(app: MediaRoutes) -> tuple[int, bytes]:
    """Ask as a client that stays to the end."""
    sent: list[dict[str, object]] = []
    bodies = [{"type": "http.request", "body": b"{}", "more_body": False}]

    async def receive() -> dict[str, object]:
        if bodies:
            return bodies.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer key")]
    await app({"type": "http", "method": "POST", "path": "/say", "headers": headers}, receive, send)  # type: ignore[arg-type]
    body = b"".join(bytes(message.get("body", b"")) for message in sent)  # type: ignore[call-overload]
    return int(str(sent[0]["status"])), body

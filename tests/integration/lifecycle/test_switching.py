"""Models that do not fit together: who waits, for how long, and how often they are swapped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.eventually import eventually
from tests.support.raw_http import read_all, read_until, send_chat
from tests.support.registries import chat, nano, scripted, state_of, status_of, write_registry
from tests.support.serving import ServedHost

NAMES = ("ant", "bee", "cat")
CLIENTS, REQUESTS = 20, 200
BURST_REQUESTS = 4


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host of three scripts of which one may be loaded; every test leaves it without requests."""
    entries = (
        scripted("ant"),
        scripted("bee", options={"load_seconds": 0.2}),
        scripted("cat", request_timeout=1.5, queue_size=2),
    )
    path = write_registry(tmp_path_factory.mktemp("switching") / "models.yaml", *entries)
    with ServedHost(models_config=path, max_models=1, burst_requests=BURST_REQUESTS, burst_seconds=0.5) as host:
        yield host


@contextmanager
def _streaming(host: ServedHost, model: str, content: str = "/hang 2") -> Iterator[Any]:
    """A stream of which the first tokens have arrived."""
    with closing(send_chat(host.url, content, stream=True, model=model)) as connection:
        read_until(connection, b"data: ")
        yield connection


class _Watch:
    """Looks at the host's workers as often as it can, in a thread, and remembers the most that it saw at once."""

    def __init__(self, host: ServedHost) -> None:
        self.most = 0
        self._host = host
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(0.02):
            self.most = max(self.most, len(self._host.worker_pids()))


@pytest.mark.promise("candle-vllm.switching")
def test_200_interleaved_requests_for_3_models_of_which_one_fits_are_all_answered_with_few_swaps(
    tmp_path: Path,
) -> None:
    path = write_registry(tmp_path / "models.yaml", *map(nano, NAMES))

    async def ask(client: openai.AsyncOpenAI, number: int) -> str | None:
        messages: Any = [{"role": "user", "content": "Hello!"}]
        answer = await client.chat.completions.create(model=NAMES[number % 3], messages=messages, max_tokens=3)
        assert answer.model == NAMES[number % 3]
        return answer.choices[0].finish_reason

    async def ask_all(host: ServedHost) -> Counter[str | None]:
        numbers = iter(range(REQUESTS))
        reasons: Counter[str | None] = Counter()

        async def work(client: openai.AsyncOpenAI) -> None:
            for number in numbers:
                reasons[await ask(client, number)] += 1

        async with host.async_client() as client, asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(work(client))
        return reasons

    with ServedHost(models_config=path, max_models=1, queue_size=CLIENTS) as host, _Watch(host) as watch:
        reasons = asyncio.run(ask_all(host))
        assert reasons.total() == REQUESTS
        assert set(reasons) <= {"stop", "length"}
        loads = sum(status_of(host, name)["loads"] for name in NAMES)
        assert 3 <= loads <= REQUESTS / 5
        assert loads == host.metric("modelhost_model_loads_total")
        assert host.metric("modelhost_model_evictions_total") == loads - 1
        steps = [
            event["event"]
            for line in host.stderr.splitlines()
            if (event := _logged(line))["event"] in ("worker_ready", "model_unloaded")
        ]
        assert steps == (["worker_ready", "model_unloaded"] * loads)[:-1]
    assert watch.most == 1


def _logged(line: str) -> dict[str, Any]:
    return json.loads(line) if line.startswith("{") else {"event": None}


def test_a_model_that_is_asked_for_all_the_time_lets_another_one_in(scripts: ServedHost) -> None:
    is_over = threading.Event()

    def ask_for_ants() -> set[int]:
        statuses = set()
        while not is_over.is_set():
            statuses.add(chat(scripts, "ant", "/tokens 1").status_code)
        return statuses

    with ThreadPoolExecutor(6) as clients:
        asking = [clients.submit(ask_for_ants) for _ in range(6)]
        eventually(lambda: state_of(scripts, "ant") in ("ready", "busy"))
        try:
            for _ in range(3):
                assert chat(scripts, "bee").status_code == 200
        finally:
            is_over.set()
        assert set().union(*(each.result() for each in asking)) == {200}


def test_who_waits_too_long_for_its_turn_is_told_where_it_stood(scripts: ServedHost) -> None:
    with _streaming(scripts, "ant"), ThreadPoolExecutor(3) as clients:
        answers = [each.result() for each in [clients.submit(chat, scripts, "cat") for _ in range(3)]]
        assert sorted(answer.status_code for answer in answers) == [503, 504, 504]
        errors = [answer.json()["error"] for answer in answers]
        (full,) = [error for error in errors if error["code"] == "queue_full"]
        late = [error for error in errors if error["code"] == "queue_timeout"]
        for error in late:
            place = error["details"]["position"]
            assert f"number {place} of" in error["message"]
            assert "waiting for cat (queued) when the 1.5 s" in error["message"]
        assert sorted(error["details"]["position_at_first"] for error in late) == [1, 2]
        assert all(answer.headers["retry-after"] for answer in answers)
        assert sorted(answer.headers.get("x-queue-position", "") for answer in answers) == ["", "1", "2"]
        assert full["details"]["queue_length"] == 2
        assert len(scripts.worker_pids()) == 1


def test_a_client_that_leaves_the_queue_of_an_unloaded_model_leaves_nothing_behind(scripts: ServedHost) -> None:
    with _streaming(scripts, "ant") as stream:
        (worker,) = scripts.worker_pids()
        loads = status_of(scripts, "bee")["loads"]
        with closing(send_chat(scripts.url, "hello", model="bee")):
            eventually(lambda: state_of(scripts, "bee") == "queued")
            status = status_of(scripts, "bee")
            assert (status["queue_length"], status["oldest_wait_seconds"] >= 0) == (1, True)
        eventually(lambda: state_of(scripts, "bee") == "unloaded", seconds=1.0)
        status = status_of(scripts, "bee")
        assert (status["queue_length"], status["oldest_wait_seconds"]) == (0, None)
        assert scripts.metric("modelhost_queue_length") == 0
        # Nobody makes room for it any more: the busy model begins what it likes, for longer than a burst.
        for _ in range(10 * BURST_REQUESTS):
            assert "x-queue-position" not in chat(scripts, "ant", "/tokens 1").headers
        stream.close()
    eventually(lambda: scripts.metric("modelhost_requests_in_flight") == 0)
    assert status_of(scripts, "bee")["loads"] == loads
    assert scripts.worker_pids() == [worker]


def test_a_busy_worker_that_is_killed_makes_room_for_who_waits(scripts: ServedHost) -> None:
    with _streaming(scripts, "ant") as stream, closing(send_chat(scripts.url, "/echo me", model="bee")) as waiting:
        eventually(lambda: state_of(scripts, "bee") == "queued")
        (worker,) = scripts.worker_pids()
        os.kill(worker, signal.SIGKILL)
        assert b'"code":"worker_crashed"' in read_all(stream)
        assert b"200 OK" in read_all(waiting)
    assert len(scripts.worker_pids()) == 1
    assert chat(scripts, "ant").status_code == 200

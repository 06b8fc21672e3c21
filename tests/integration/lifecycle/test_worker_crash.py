"""A worker that dies: its requests are told, the host goes on, others wait for the restart."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from tests.support.eventually import eventually, eventually_async
from tests.support.gguf_files import write_model
from tests.support.processes import is_alive
from tests.support.raw_http import read_until, send_chat
from tests.support.serving import ServedHost

StartHost = Callable[..., ServedHost]


@pytest.fixture(scope="module")
def host() -> Iterator[ServedHost]:
    """A scripted host, healthy again before each test ends."""
    with ServedHost(engine="scripted", alias=["scripted"], engine_options={"stderr_lines": 3}) as started:
        yield started


def _say(host: ServedHost, content: str, **parameters: Any) -> Any:
    messages: list[Any] = [{"role": "user", "content": content}]
    return host.client().chat.completions.create(model=_name(host), messages=messages, **parameters)


def _name(host: ServedHost) -> str:
    return str(host.http.get("/v1/models").json()["data"][0]["id"])


def _status(host: ServedHost, content: str, **parameters: Any) -> tuple[int, Any]:
    """The status of an answer, and its error object if it is one."""
    body = {"messages": [{"role": "user", "content": content}], **parameters}
    answer = host.http.post("/v1/chat/completions", json=body, timeout=60)
    return answer.status_code, answer.json().get("error")


def _kill_worker(host: ServedHost) -> int:
    (worker,) = host.worker_pids()
    os.kill(worker, signal.SIGKILL)
    return worker


def _is_ready(host: ServedHost) -> bool:
    return bool(host.http.get("/ready").status_code == 200)


def test_an_open_stream_gets_an_error_that_names_the_worker(host: ServedHost) -> None:
    (worker,) = host.worker_pids()
    received: list[Any] = []
    stream = _say(host, "/crash 5 /tokens 50", stream=True)
    with pytest.raises(openai.APIError, match="was ended by SIGKILL") as crashed:
        received.extend(stream)
    assert len(received) >= 5
    body: Any = crashed.value.body
    assert body["code"] == "worker_crashed"
    assert body["source"] == {"kind": "worker", "model": "scripted", "worker": f"scripted/{worker}"}
    assert body["details"]["stderr"] == ["scripted: line 1", "scripted: line 2", "scripted: line 3"]


def test_a_whole_answer_becomes_a_502_with_the_workers_last_lines(host: ServedHost) -> None:
    with pytest.raises(openai.APIStatusError) as crashed:
        _say(host, "/crash 5 /tokens 50")
    assert crashed.value.status_code == 502
    error: Any = crashed.value.body
    assert error["code"] == "worker_crashed"
    assert "scripted: line 3" in error["details"]["stderr"]


@pytest.mark.promise("llm-server.loading.again")
def test_requests_during_the_restart_wait_and_succeed(host: ServedHost) -> None:
    _say(host, "are you there?")
    (before,) = host.worker_pids()
    with pytest.raises(openai.APIStatusError):
        _say(host, "/crash 0")
    assert _say(host, "/echo again").choices[0].message.content.strip() == "again"
    (after,) = host.worker_pids()
    assert after != before
    assert host.returncode is None


def test_all_requests_of_a_dying_worker_are_told(host: ServedHost) -> None:
    async def ask(client: openai.AsyncOpenAI, content: str) -> str:
        try:
            stream = await client.chat.completions.create(
                model="scripted", messages=[{"role": "user", "content": content}], stream=True
            )
            async with stream:
                async for _ in stream:
                    pass
        except openai.APIError as error:
            return str(error.code)
        return "finished"

    async def ask_all() -> list[str]:
        async with host.async_client() as client, asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(ask(client, "/hang 2")) for _ in range(8)]
            await eventually_async(lambda: host.metric("modelhost_requests_in_flight") == 8)
            asked.append(tasks.create_task(ask(client, "/crash 1")))
        return [task.result() for task in asked]

    _say(host, "are you there?")
    assert asyncio.run(ask_all()) == ["worker_crashed"] * 9
    eventually(lambda: host.metric("modelhost_requests_in_flight") == 0)


def test_a_worker_killed_while_idle_is_replaced(host: ServedHost) -> None:
    _say(host, "are you there?")
    exits = host.metric("modelhost_worker_exits_total")
    killed = _kill_worker(host)
    eventually(lambda: host.metric("modelhost_worker_exits_total") == exits + 1)
    assert _say(host, "hello").choices[0].finish_reason == "stop"
    assert not is_alive(killed)


def test_a_worker_whose_socket_is_deleted_is_replaced(start_host: StartHost) -> None:
    host = start_host(engine="scripted", alias=["scripted"])
    (before,) = host.worker_pids()
    (socket,) = (found.laddr for found in psutil.Process(before).net_connections("unix") if found.laddr)
    Path(socket).unlink()
    eventually(lambda: not is_alive(before), seconds=30)
    assert _say(host, "/echo again").choices[0].message.content.strip() == "again"
    assert len(host.log_events("worker_unreachable")) == 1


LOOPING = """
{%- if messages[0].content == 'loop' -%}
{%- for i in range(2000000000) -%}{%- for j in range(2000000000) -%}{%- endfor -%}{%- endfor -%}
{%- endif -%}
{{ messages[0].content }}
"""


def test_a_request_that_hangs_fails_alone_and_its_worker_is_replaced_without_harm(
    start_host: StartHost, tmp_path: Path
) -> None:
    (tmp_path / "looping.jinja").write_text(LOOPING)
    host = start_host(chat_template=str(tmp_path / "looping.jinja"), slots=2, stall_timeout=3.0)
    (before,) = host.worker_pids()
    statuses = []
    with ThreadPoolExecutor(1) as other:
        hanging = other.submit(_status, host, "loop", max_tokens=4)
        while not hanging.done():
            statuses.append(_status(host, "hello", max_tokens=4))
        status, error = hanging.result()
        while is_alive(before):
            statuses.append(_status(host, "hello", max_tokens=4))
    assert status == 502
    assert (error["code"], error["details"]["reason"]) == ("engine_error", "stalled")
    assert set(map(itemgetter(0), statuses)) == {200}
    assert _status(host, "hello", max_tokens=4)[0] == 200
    assert [len(host.log_events(name)) for name in ("request_stalled", "worker_does_abandoned_work")] == [1, 1]
    assert host.log_events("worker_lost") == []


def test_a_request_that_others_overtake_fails_alone_with_an_engine_that_is_silent_about_prompts(
    start_host: StartHost,
) -> None:
    host = start_host(engine="scripted", alias=["scripted"], stall_timeout=1.0)
    stream = _say(host, "/hang 2", stream=True)
    for _ in range(2):
        next(stream)
    with ThreadPoolExecutor(1) as other:
        hanging = other.submit(list, stream)
        while not hanging.done():
            assert _say(host, "hello").choices[0].finish_reason == "stop"
        with pytest.raises(openai.APIError, match="did nothing about this request") as ended:
            hanging.result()
    assert ended.value.code == "engine_error"
    assert len(host.log_events("request_stalled")) == 1
    assert host.log_events("worker_lost") == []


def test_work_that_goes_on_for_nobody_ends_with_its_worker(start_host: StartHost, tmp_path: Path) -> None:
    (tmp_path / "looping.jinja").write_text(LOOPING)
    host = start_host(chat_template=str(tmp_path / "looping.jinja"), slots=2, stall_timeout=3.0)
    (before,) = host.worker_pids()
    with closing(send_chat(host.url, "loop", stream=True)):
        eventually(lambda: host.metric("modelhost_requests_in_flight") == 1)
    eventually(lambda: not is_alive(before), seconds=30)
    assert _status(host, "hello", max_tokens=4)[0] == 200
    assert len(host.log_events("worker_does_abandoned_work")) == 1


def test_llama_cpp_killed_in_mid_stream_is_told_and_replaced(start_host: StartHost) -> None:
    host = start_host()
    stream = _say(host, "Hi", stream=True, max_tokens=1500, extra_body={"ignore_eos": True})
    for _ in range(3):
        next(stream)
    _kill_worker(host)
    with pytest.raises(openai.APIError, match="was ended by SIGKILL") as crashed:
        list(stream)
    assert crashed.value.code == "worker_crashed"
    assert _say(host, "Hello!", max_tokens=4).usage.completion_tokens > 0


def test_a_model_that_cannot_be_started_again_is_refused_at_once_and_recovers(
    start_host: StartHost, tmp_path: Path
) -> None:
    model, hidden = tmp_path / "tiny.gguf", tmp_path / "hidden"
    write_model(model)
    host = start_host(model=str(model))
    shutil.move(model, hidden)
    _kill_worker(host)
    # The first restart comes after 0.1 s and fails; who waited so long is told, too.
    with pytest.raises(openai.APIStatusError) as waited:
        _say(host, "hello", max_tokens=4)
    assert waited.value.status_code == 503
    assert waited.value.code == "model_failed"
    eventually(lambda: host.http.get("/ready").json()["models"] == {"tiny": "failed"})  # between two attempts
    with pytest.raises(openai.APIStatusError) as at_once:
        _say(host, "hello", max_tokens=4)
    assert at_once.value.code == "model_failed"
    assert int(at_once.value.response.headers["retry-after"]) >= 1
    assert "tiny" in at_once.value.message
    assert host.http.get("/health").status_code == 200
    assert host.http.get("/ready").status_code == 503
    shutil.move(hidden, model)
    eventually(lambda: _is_ready(host), seconds=30)
    assert _say(host, "hello", max_tokens=4).usage.completion_tokens > 0


async def _ask(client: openai.AsyncOpenAI) -> tuple[int, str, bool]:
    """Return status, error code and whether the answer says when to come back."""
    try:
        await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "hello"}])
    except openai.APIStatusError as error:
        return error.status_code, str(error.code), "retry-after" in error.response.headers
    return 200, "", False


async def _ask_at_once(host: ServedHost, count: int) -> list[tuple[int, str, bool]]:
    async with host.async_client() as client:
        return await asyncio.gather(*(_ask(client) for _ in range(count)))


def test_the_queue_has_an_end_while_the_worker_restarts_and_that_is_not_counted_as_waiting(
    start_host: StartHost,
) -> None:
    host = start_host(
        engine="scripted", queue_size=2, request_timeout=1.0, engine_options={"load_seconds": 3.0}, alias=["scripted"]
    )
    _kill_worker(host)
    eventually(lambda: not _is_ready(host))
    answers = asyncio.run(_ask_at_once(host, 5))
    assert sorted(answers) == [(200, "", False)] * 2 + [(503, "queue_full", True)] * 3
    assert asyncio.run(_ask_at_once(host, 5)) == [(200, "", False)] * 5


def test_waiting_has_an_end_too(start_host: StartHost) -> None:
    host = start_host(engine="scripted", queue_size=2, request_timeout=1.0, max_in_flight=1, alias=["scripted"])
    with closing(send_chat(host.url, "/hang 1", stream=True)) as stream:
        read_until(stream, b"data: ")
        answers = asyncio.run(_ask_at_once(host, 3))
    assert sorted(answers) == [(503, "queue_full", True)] + [(504, "queue_timeout", True)] * 2
    eventually(lambda: host.metric("modelhost_requests_in_flight") == 0)
    assert asyncio.run(_ask_at_once(host, 1)) == [(200, "", False)]


def test_a_crash_loop_does_not_spin(start_host: StartHost) -> None:
    host = start_host(engine="scripted", alias=["scripted"])
    for _ in range(4):
        with pytest.raises(openai.APIStatusError):
            _say(host, "/crash 0")
    eventually(lambda: _is_ready(host))
    starts = [event["timestamp"] for event in host.log_events("worker_ready")]
    assert len(starts) == 5
    assert psutil.Process(host.pid).cpu_times().user < 20

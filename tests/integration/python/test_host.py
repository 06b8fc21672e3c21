"""``modelhost.Host``: the asynchronous edge, and what its engine does when a caller leaves."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import modelhost
from modelhost.errors import (
    InvalidRequest,
    ModelFailed,
    ModelFileMissing,
    NothingToSpeak,
    ShuttingDown,
    UnsupportedOperation,
    UnsupportedParameter,
)
from modelhost.meters import METERS
from modelhost.operations.monitor import GET_METRICS, MetricParameters
from tests.support.eventually import eventually_async
from tests.support.metrics import metric_value
from tests.support.processes import is_alive


@pytest.fixture(scope="module")
async def nano() -> AsyncIterator[modelhost.Host]:
    async with modelhost.Host(threads=1, slots=2) as host:
        yield host


async def _ask_worker(host: modelhost.Host, path: str) -> Any:
    """Ask the engine itself."""
    worker = host.models[0].worker
    assert worker is not None
    return await worker.fetch(path)


async def _busy_slots(host: modelhost.Host) -> int:
    return sum(slot["is_processing"] for slot in await _ask_worker(host, "/slots"))


async def _until_slots_are_free(host: modelhost.Host) -> None:
    async with asyncio.timeout(60):
        while await _busy_slots(host):
            pass


@pytest.mark.parametrize(("task", "method"), [("speech", "Host.speech"), ("transcription", "Host.transcribe")])
async def test_a_task_with_bytes_names_its_own_method(task: Any, method: str, nano: modelhost.Host) -> None:
    with pytest.raises(UnsupportedOperation, match=method):
        await nano.call(task, {"input": "Hello!"})


async def test_it_speaks_and_transcribes() -> None:
    async with modelhost.Host(engine="scripted") as host:
        assert await host.speech("/echo one two", voice="two") == b"one two"
        async with aclosing(host.speech_stream("/echo one two", response_format="wav")) as parts:
            assert b"".join([part async for part in parts]) == b"one two"
        with pytest.raises(NothingToSpeak):
            await host.speech("...")
        with pytest.raises(InvalidRequest) as caught:
            await host.speech("one", voice="three")
        assert caught.value.param == "voice"
        sound = b"RIFF....WAVE/echo one two"
        heard = await host.transcribe(sound, language="de", timestamp_granularities=["word"])
        assert (heard["text"], heard["language"], heard["duration"]) == ("one two", "de", 2.0)
        assert [word["word"] for segment in heard["segments"] for word in segment["words"]] == ["one", " two"]
        with pytest.raises(UnsupportedParameter):
            await host.transcribe(sound, colour="red")
        with pytest.raises(UnsupportedParameter, match="stream: this returns the whole transcript; leave it out"):
            await host.transcribe(sound, stream=True)
        with pytest.raises(UnsupportedParameter, match="stream_format: this returns the audio itself"):
            await host.speech("one", stream_format="sse")
        with pytest.raises(InvalidRequest):
            await host.transcribe(sound, language="English")


async def test_it_answers_whole_and_streamed(nano: modelhost.Host) -> None:
    answer = await nano.chat("Hello!", max_tokens=8)
    assert answer["object"] == "chat.completion"
    async with aclosing(nano.chat_stream("Hello!", max_tokens=8)) as chunks:
        pieces = [chunk async for chunk in chunks]
    assert pieces[-1]["choices"][0]["finish_reason"] in {"stop", "length"}


async def test_a_stream_that_is_left_frees_the_engines_slot(nano: modelhost.Host) -> None:
    async with aclosing(nano.chat_stream("Hello!", max_tokens=1800, ignore_eos=True)) as chunks:
        await anext(chunks)
        assert await _busy_slots(nano) == 1
    await _until_slots_are_free(nano)


async def test_a_whole_answer_that_is_cancelled_frees_the_engines_slot(nano: modelhost.Host) -> None:
    asking = asyncio.create_task(nano.chat("Hello!", max_tokens=1800, ignore_eos=True))
    async with asyncio.timeout(60):
        while not await _busy_slots(nano):
            pass
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await _until_slots_are_free(nano)


async def test_a_request_cancelled_before_its_first_token_frees_the_engines_slot(nano: modelhost.Host) -> None:
    asking = asyncio.create_task(nano.chat("word " * 400, max_tokens=500, ignore_eos=True, cache_prompt=False))
    await eventually_async(lambda: nano.status().models[0].in_flight == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await _until_slots_are_free(nano)


@pytest.mark.parametrize("fails", [False, True])
async def test_the_worker_is_gone_after_the_block(fails: bool) -> None:
    async def use() -> tuple[modelhost.Host, int]:
        async with modelhost.Host(engine="scripted") as host:
            assert host.models[0].worker is not None
            used.append((host, host.models[0].worker.process.pid))
            if fails:
                raise ZeroDivisionError
        return used[0]

    used: list[tuple[modelhost.Host, int]] = []
    await asyncio.gather(use(), return_exceptions=True)
    host, worker = used[0]
    assert not is_alive(worker)
    with pytest.raises(ShuttingDown):
        await host.chat("hello")


async def test_leaving_the_block_lets_requests_at_work_finish() -> None:
    async with modelhost.Host(engine="scripted") as host:
        asking = asyncio.create_task(host.chat("/tokens 20 /slow 40"))
        await eventually_async(lambda: host.status().models[0].in_flight == 1)
    assert (await asking)["choices"][0]["finish_reason"] == "stop"


async def test_a_model_that_is_missing_is_an_exception() -> None:
    with pytest.raises(ModelFileMissing, match=r"/no/such/model\.gguf"):
        async with modelhost.Host(model="/no/such/model.gguf"):
            pytest.fail("it cannot be entered")


async def test_without_load_the_first_request_has_the_model_loaded() -> None:
    host = modelhost.Host(threads=1)
    await host.start(load=False)
    try:
        assert host.is_ready
        assert host.models[0].worker is None
        assert (await host.chat("Hello!", max_tokens=4))["model"] == "modelhost-nano"
        assert host.models[0].worker is not None
    finally:
        await host.stop()


async def test_without_load_the_first_request_is_told_that_the_file_is_missing() -> None:
    host = modelhost.Host(model="/no/such/model.gguf")
    await host.start(load=False)
    try:
        with pytest.raises(ModelFailed, match=r"/no/such/model\.gguf: there is no such file"):
            await host.chat("Hello!")
    finally:
        await host.stop()


async def test_a_start_that_is_cancelled_leaves_no_worker() -> None:
    host = modelhost.Host(engine="scripted", engine_options={"load_seconds": 60.0})
    before = asyncio.all_tasks()
    starting = asyncio.create_task(host.start())
    await asyncio.wait([starting], timeout=1.0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await eventually_async(lambda: asyncio.all_tasks() <= before)


async def test_a_host_that_cannot_start_leaves_no_server_of_tools_behind(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    script = f"import os, pathlib, sys; pathlib.Path({str(marker)!r}).write_text(str(os.getpid())); sys.stdin.read()"
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"slow": {"command": sys.executable, "args": ["-c", script]}}}))
    before = asyncio.all_tasks()
    with pytest.raises(ModelFileMissing):
        async with modelhost.Host(model=str(tmp_path / "missing.gguf"), mcp_config=str(config)):
            pass
    assert not marker.exists() or not is_alive(int(marker.read_text()))
    assert not [task for task in asyncio.all_tasks() - before if "mcp" in task.get_name()]


def _own(name: str, folder: Path) -> modelhost.Host:
    return modelhost.Host(engine="scripted", alias=[name], data_dir=str(folder / name), metrics_cache_seconds=0)


async def _measured(host: modelhost.Host) -> Any:
    return await GET_METRICS.run(host, MetricParameters(duration_seconds=600))


async def test_two_hosts_of_a_process_measure_their_own_requests(tmp_path: Path) -> None:
    name = f"two-{uuid.uuid4().hex}"
    async with _own(name, tmp_path / "one") as one:
        async with _own(name, tmp_path / "other") as other:
            for _ in range(3):
                await one.chat("/echo hello")
            await other.chat("/echo hello")
            for host, count in ((one, 3), (other, 1)):
                found = await _measured(host)
                assert (found.metrics.requests.total, found.models[name].requests.total) == (count, count)
                assert found.models[name].loads.count == 1
        await one.chat("/echo hello")
        assert (await _measured(one)).metrics.requests.total == 4
    # What Prometheus reads is of the process.
    assert metric_value(METERS.loads, name) == 2

"""A worker with the bundled model: what it takes, and what happens when it hangs or is unloaded while it works."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.errors import ModelUnloaded, WorkerCrashed
from modelhost.models.resolve.locate import locate
from modelhost.workers.client import WorkerClient
from modelhost.workers.endings import unloaded_by_force
from modelhost.workers.process import WorkerProcess
from modelhost.workers.process_groups import running_members
from modelhost.workers.worker import Worker
from tests.support.eventually import eventually_async

MIB = 2**20
BODY = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": 400, "ignore_eos": True}


@asynccontextmanager
async def _nano() -> AsyncIterator[Worker]:
    engine = LlamaCpp()
    path = locate(None).path
    launch = engine.launch(ModelSpec(name="nano", path=path, context_length=2048, max_in_flight=4), "key")
    process = await WorkerProcess.start(launch, model="nano", timeout_seconds=60)
    worker = WorkerClient(process=process, engine=engine, model="nano", api_key="key")
    try:
        yield worker
    finally:
        await worker.close()


async def _read(worker: Worker) -> None:
    async with worker.stream("chat", dict(BODY)) as blocks:
        while await blocks.read():
            pass


async def test_its_memory_is_measured_and_is_back_after_its_end() -> None:
    async with _nano() as worker:
        taken = await worker.memory()
        assert 20 * MIB < taken["ram"] < 300 * MIB
        freed = await worker.close()
        assert freed["ram"] == pytest.approx(taken["ram"], abs=10 * MIB)
        assert await worker.memory() == {}
        assert not running_members(worker.process.pid)


async def test_a_hanging_worker_is_silent_until_it_is_ended_and_its_request_is_told_why() -> None:
    async with _nano() as worker:
        os.kill(worker.process.pid, signal.SIGSTOP)
        reading = asyncio.create_task(_read(worker))
        await eventually_async(lambda: (worker.silent_seconds(asyncio.get_running_loop().time()) or 0) > 0.2)
        await worker.end_stalled(0.2)
        with pytest.raises(WorkerCrashed, match=r"produced nothing for 0\.2 s") as ended:
            await reading
        assert ended.value.details["reason"] == "stalled"
        assert not running_members(worker.process.pid)


@pytest.mark.parametrize("is_wanted", [False, True])
async def test_the_progress_of_a_prompt_counts_as_a_sign_of_life_and_is_shown_to_those_who_want_it(
    is_wanted: bool,
) -> None:
    async with _nano() as worker:
        body = {**BODY, "messages": [{"role": "user", "content": "word " * 300}], "max_tokens": 2}
        read = b""
        async with worker.stream("chat", {**body, **({"return_progress": True} if is_wanted else {})}) as blocks:
            began = worker.last_output_at
            while block := await blocks.read():
                read += block
        assert began > 0  # a stream is open when its prompt is begun with
        assert (b'"prompt_progress"' in read) is is_wanted
        assert b'"role":"assistant"' in read
        assert read.endswith(b"data: [DONE]\n\n")


async def test_a_request_is_told_that_its_model_was_unloaded_by_force() -> None:
    async with _nano() as worker:
        os.kill(worker.process.pid, signal.SIGSTOP)  # or it may be done before this process has its turn again
        reading = asyncio.create_task(_read(worker))
        await eventually_async(lambda: worker.silent_seconds(asyncio.get_running_loop().time()) is not None)
        assert (await worker.close(unloaded_by_force))["ram"] > MIB
        with pytest.raises(ModelUnloaded):
            await reading

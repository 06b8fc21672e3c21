"""Any number of slots, with any size of a batch, starts the real engine; and so do threads on CPUs of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from modelhost.config.settings import Settings
from modelhost.models.registry.registry import read_registry
from modelhost.models.resolve.resolve import resolve
from modelhost.workers.process import WorkerProcess
from tests.support.gguf_files import write_model


@pytest.mark.parametrize(("slots", "batch_size"), [(3, 0), (5, 0), (7, 64), (8, 4096)])
async def test_a_number_of_slots_that_does_not_divide_the_batch_starts(
    tmp_path: Path, slots: int, batch_size: int
) -> None:
    model = write_model(tmp_path / "tiny.gguf", context_length=512)
    settings = Settings(model=str(model), slots=slots, engine_options={"batch_size": batch_size})
    resolved = resolve(settings)
    worker = await WorkerProcess.start(resolved.engine.launch(resolved.spec, "key"), model="tiny", timeout_seconds=60)
    await worker.stop()
    assert worker.ready.slots == slots


@pytest.mark.skipif(sys.platform != "linux", reason="pins threads on Linux")
@pytest.mark.parametrize("is_pinned", [True, False])
async def test_each_computing_thread_is_kept_on_a_cpu_of_its_own(tmp_path: Path, is_pinned: bool) -> None:
    cpus = os.sched_getaffinity(0)
    if len(cpus) == 1:
        pytest.skip("needs two CPUs")
    model = write_model(tmp_path / "tiny.gguf", context_length=512)
    settings = Settings(model=str(model), threads=len(cpus), engine_options={"pin_threads": is_pinned})
    resolved = resolve(settings)
    worker = await WorkerProcess.start(resolved.engine.launch(resolved.spec, "key"), model="tiny", timeout_seconds=60)
    try:
        threads = [os.sched_getaffinity(thread.id) for thread in psutil.Process(worker.pid).threads()]
    finally:
        await worker.stop()
    assert {cpu for allowed in threads if len(allowed) == 1 for cpu in allowed} == (cpus if is_pinned else set())


async def test_the_parameters_of_a_registry_entry_start_the_engine(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf", context_length=512)
    registry = tmp_path / "models.yaml"
    registry.write_text(
        "models:\n"
        "  - name: tiny\n"
        "    local_path: tiny.gguf\n"
        "    env: {WORD: hello}\n"
        "    params: {mem: 1, max_num_seqs: 512, prefill_chunk_size: 8192, device_ids: [], kv_cache_type: q8_0}\n"
    )
    resolved = resolve(read_registry(registry, Settings()).entries[0].settings)
    worker = await WorkerProcess.start(resolved.engine.launch(resolved.spec, "key"), model="tiny", timeout_seconds=60)
    await worker.stop()
    # A MiB of cache: 272 bytes a token with q8_0, 512 tokens a slot.
    assert (worker.ready.context_length, worker.ready.slots) == (512, 7)

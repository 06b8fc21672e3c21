"""The estimate of a worker's memory: what it is made of, and what real workers take."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.models.files.gguf import GgufHeader, read_header
from modelhost.models.files.gguf_needs import CUDA_CONTEXT_BYTES, need_bytes
from modelhost.workers.process import WorkerProcess
from tests.support.gguf_files import write_model

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
KEY = "secret"
MB = 1_000_000


@pytest.fixture(scope="module")
def header() -> GgufHeader:
    return read_header(NANO)


def need(header: GgufHeader, **changes: Any) -> dict[str, int]:
    wanted: dict[str, Any] = {"context_length": 2048, "slots": 1, "kv_cache_type": "f16", "gpu_layers": None, **changes}
    return need_bytes(header, **wanted)


def test_without_gpus_everything_is_in_main_memory(header: GgufHeader) -> None:
    assert list(need(header)) == ["ram"]
    assert need(header, gpu_layers=99) == need(header)


def test_each_slot_adds_its_cache(header: GgufHeader) -> None:
    cache = header.kv_bytes_per_token("f16") * 2048
    more = need(header, slots=3)["ram"] - need(header, slots=1)["ram"]
    assert 2 * cache <= more <= 2 * cache + 25 * MB


def test_a_smaller_number_format_of_the_cache_needs_less(header: GgufHeader) -> None:
    assert need(header, kv_cache_type="q8_0")["ram"] < need(header)["ram"]


def test_a_smaller_batch_needs_less(header: GgufHeader) -> None:
    assert need(header, batch_size=256)["ram"] < need(header, batch_size=2048)["ram"]
    assert need(header, batch_size=2048) == need(header)


def test_weights_that_are_repacked_for_the_cpu_count_twice(header: GgufHeader) -> None:
    large = replace(header, size_bytes=500 * MB)
    repacked = replace(large, quantization="Q4_K_M")
    assert need(repacked)["ram"] - need(large)["ram"] == 500 * MB


@pytest.mark.promise("mistralrs.models.devices")
def test_gpus_share_the_layers_and_main_memory_keeps_the_rest(header: GgufHeader) -> None:
    large = replace(header, size_bytes=4000 * MB)
    whole, halved = need(large, gpus=(0,)), need(large, gpus=(0, 1))
    assert set(halved) == {"ram", "gpu:0", "gpu:1"}
    assert halved["gpu:0"] == halved["gpu:1"] < whole["gpu:0"]
    assert whole["gpu:0"] > 4000 * MB + CUDA_CONTEXT_BYTES
    assert whole["ram"] < need(large)["ram"]
    some = need(large, gpus=(0,), gpu_layers=3)
    assert some["gpu:0"] < whole["gpu:0"]
    assert some["ram"] > whole["ram"]


def test_no_layers_on_gpus_leaves_them_free(header: GgufHeader) -> None:
    assert set(need(header, gpus=(0,), gpu_layers=0)) == {"ram"}


def test_a_text_model_for_vectors_needs_the_logits_that_it_computes_in_vain(header: GgufHeader) -> None:
    embedding = replace(header, is_embedding=True)
    assert need(embedding)["ram"] - need(header)["ram"] == 2048 * 8 * 1024


@pytest.mark.parametrize(("slots", "context_length"), [(1, 2048), (4, 1024)])
async def test_the_estimate_covers_what_a_worker_of_the_bundled_model_takes(slots: int, context_length: int) -> None:
    await _compare(NANO, context_length=context_length, slots=slots)


async def test_the_estimate_covers_what_a_worker_of_a_larger_model_takes(tmp_path: Path) -> None:
    path = write_model(tmp_path / "wide.gguf", blocks=8, context_length=4096, vocabulary=60_000)
    await _compare(path, context_length=4096, slots=2)


async def _compare(path: Path, *, context_length: int, slots: int) -> None:
    """Fill every slot of a real worker and compare the most that it took with the estimate."""
    spec = ModelSpec(name="m", path=path, context_length=context_length, slots=slots, threads=1)
    worker = await WorkerProcess.start(LlamaCpp().launch(spec, KEY), model="m", timeout_seconds=60)
    try:
        async with httpx2.AsyncClient(base_url=worker.ready.url, timeout=100, trust_env=False) as client:
            await asyncio.gather(*(_fill(client, str(slot), context_length) for slot in range(slots)))
        peak_bytes = _peak_bytes(worker.pid)
    finally:
        await worker.stop()
    estimate = need(read_header(path), context_length=context_length, slots=slots)["ram"]
    assert peak_bytes <= estimate <= peak_bytes * 1.3 + 60 * MB


async def _fill(client: httpx2.AsyncClient, first: str, context_length: int) -> None:
    prompt = first + "x" * (context_length - 40)
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = await client.post("/completion", json={"prompt": prompt, "n_predict": 8}, headers=headers)
    assert answer.json()["tokens_evaluated"] > context_length * 0.9


def _peak_bytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024

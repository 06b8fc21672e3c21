"""What a worker around a library reports of itself, read as the host reads it."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.engines.library_engine import METRICS
from modelhost.engines.transformers.worker import gpu_memory
from modelhost.engines.worker.asgi import WorkerRoutes
from modelhost.engines.worker.batcher import BatchFigures
from modelhost.engines.worker.library import GpuMemory, Loaded
from modelhost.engines.worker.serving import worker_metrics

FIGURES = BatchFigures(
    steps=2_000_001, step_requests=6_000_003, running=3, waiting=1, held_tokens=512, kept_bytes=9_876_543_210
)


class Cuda:
    """PyTorch's allocator with two segments, as ``torch.cuda`` reports it."""

    @staticmethod
    def memory_allocated() -> int:
        return 14_000

    @staticmethod
    def memory_reserved() -> int:
        return 20_000

    @staticmethod
    def memory_snapshot() -> list[dict[str, Any]]:
        blocks = [("active_allocated", 14_000), ("inactive", 1500), ("inactive", 500)]
        return [
            {"blocks": [{"size": size, "state": state} for state, size in blocks]},
            {"blocks": [{"size": 4000, "state": "inactive"}]},
        ]


def loaded(memory: GpuMemory | None) -> Loaded:
    own = None if memory is None else lambda: memory
    library: Any = None
    return Loaded(library=library, tokenizer=None, vocab_size=1, version="", eos_ids=frozenset(), gpu_memory=own)


async def answered(routes: WorkerRoutes, path: str) -> tuple[int, str]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a GET has no body")

    scope = {"method": "GET", "path": path, "headers": [(b"authorization", b"Bearer key")]}
    await routes(scope, receive, send)
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.mark.parametrize("memory", [None, gpu_memory(Cuda())])
async def test_the_host_reads_what_the_worker_writes(memory: GpuMemory | None) -> None:
    answering: Any = None
    config = {"api_key": "key", "name": "qwen", "context_length": 1024}
    routes = WorkerRoutes(answering, config, worker_metrics(loaded(memory), lambda: FIGURES, 2048))
    status, text = await answered(routes, "/metrics")
    report = METRICS.read(text)
    assert (status, report.steps, report.kv_usage) == (200, (2_000_001, 6_000_003), 0.25)
    kept = (None, None) if memory is None else (6000, 4000)
    assert (report.gpu_cached_bytes, report.gpu_largest_free_bytes) == kept
    assert "worker:prefix_cache_bytes 9876543210\n" in text


async def test_a_worker_without_metrics_has_none() -> None:
    answering: Any = None
    routes = WorkerRoutes(answering, {"api_key": "key", "name": "qwen", "context_length": 1024})
    assert (await answered(routes, "/metrics"))[0] == 404

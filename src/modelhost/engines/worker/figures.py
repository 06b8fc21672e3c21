"""What a worker around a library reports of itself, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from modelhost.engines.worker.batcher import BatchFigures
from modelhost.engines.worker.library import GpuMemory, Loaded

PREFIX: Final = "worker:"


def worker_metrics(loaded: Loaded, figures: Callable[[], BatchFigures], places: int) -> Callable[[], str]:
    """Return what writes the metrics of a worker whose slots have ``places`` for tokens in all."""

    def written() -> str:
        memory = None if loaded.gpu_memory is None else loaded.gpu_memory()
        found = (*_of_batch(figures(), places), *_of_memory(memory))
        return "".join(
            f"# HELP {PREFIX}{name} {text}\n# TYPE {PREFIX}{name} {kind}\n{PREFIX}{name} {value}\n"
            for name, kind, text, value in found
        )

    return written


_Figure = tuple[str, str, str, float]
"""A name, its kind, what it is, and its value."""


def _of_batch(found: BatchFigures, places: int) -> Iterator[_Figure]:
    yield "steps_total", "counter", "Steps of the model, each a token for every request in it.", found.steps
    yield "step_requests_total", "counter", "Requests in all steps.", found.step_requests
    yield "requests_running", "gauge", "Requests in the batch.", found.running
    yield "requests_waiting", "gauge", "Requests that wait for the batch.", found.waiting
    usage = min(1.0, found.held_tokens / places) if places else 0.0
    yield "kv_cache_usage", "gauge", "Tokens in the batch as a share of the context of all slots.", usage
    yield "prefix_cache_bytes", "gauge", "Size of the prompts that are kept for later requests.", found.kept_bytes


def _of_memory(memory: GpuMemory | None) -> Iterator[_Figure]:
    if memory is not None:
        yield "gpu_allocated_bytes", "gauge", "GPU memory in use.", memory.allocated_bytes
        yield "gpu_cached_bytes", "gauge", "GPU memory kept for later use.", memory.cached_bytes
        yield "gpu_largest_free_bytes", "gauge", "The largest block that is kept.", memory.largest_free_bytes

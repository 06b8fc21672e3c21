"""The life cycle of a worker around a library: load, announce, serve; and what it reports of itself.

The library is loaded and used in one thread, since some keep state per thread; the main thread serves HTTP.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Final

from modelhost.engines.worker.app import EventBridge, LibraryAnswers
from modelhost.engines.worker.asgi import WorkerRoutes
from modelhost.engines.worker.batcher import Batcher, BatchFigures
from modelhost.engines.worker.library import GpuMemory, Loaded
from modelhost.engines.worker.process import announce_load_error, announce_ready
from modelhost.engines.worker.server import serve
from modelhost.exchange.tasks import WRITING

PREFIX: Final = "worker:"


def worker_metrics(loaded: Loaded, figures: Callable[[], BatchFigures], places: int) -> Callable[[], str]:
    """Return what writes the metrics in Prometheus' text format; the slots have ``places`` for tokens in all."""

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


Load = Callable[[Mapping[str, Any]], Loaded]
"""Loads the model of a configuration. Any exception is announced as the reason why the worker cannot start."""

MIB = 1 << 20


def run(config: Mapping[str, Any], load: Load) -> None:
    """Load the model, announce the address, serve until the process ends.

    ``config`` has been read with :func:`modelhost.engines.worker.process.read_config`.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    mailbox = EventBridge()
    begun: Future[tuple[Loaded, Batcher]] = Future()
    threading.Thread(target=_work, args=(config, load, mailbox, begun), name="model", daemon=True).start()
    try:
        loaded, batcher = begun.result()
    except Exception as error:  # noqa: BLE001 (a library may raise anything when it loads)
        announce_load_error(error)
        os._exit(1)

    def announce(url: str) -> None:
        mailbox.open()
        announce_ready(
            url,
            context_length=config["context_length"],
            slots=config["slots"],
            tasks=WRITING,
            engine_version=loaded.version,
            chat_stops=config["chat_stops"],
            sees_images=loaded.vision is not None,
            why_blind=loaded.why_blind,
            hears_audio=False,
            calls_tools=calls_tools,
        )

    answers = LibraryAnswers(loaded, batcher, config)
    calls_tools = answers.calls_tools()
    metrics = worker_metrics(loaded, batcher.figures, config["slots"] * config["context_length"])
    routes = WorkerRoutes(answers, config, metrics)
    serve(routes, config.get("socket_path"), announce)


def _work(config: Mapping[str, Any], load: Load, mailbox: EventBridge, begun: Future[tuple[Loaded, Batcher]]) -> None:
    try:
        loaded = load(config)
        batcher = Batcher(
            loaded.library,
            slots=config["slots"],
            chunk_tokens=config["batch_size"],
            prefix_bytes=config["cache_ram_mib"] * MIB,
            deliver=mailbox.deliver,
        )
    except BaseException as error:  # noqa: BLE001 (raised where the result is waited for)
        begun.set_exception(error)
        return
    begun.set_result((loaded, batcher))
    try:
        batcher.run()
    except BaseException:  # noqa: BLE001 (the worker is of no use without this thread)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the host fails its requests, and starts another worker

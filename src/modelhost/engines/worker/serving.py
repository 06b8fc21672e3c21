"""The life cycle of a worker around a library: load, announce, serve.

The library is loaded and used in one thread, since some keep state per thread; the main thread serves HTTP.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from modelhost.engines.worker.app import EventBridge, LibraryAnswers
from modelhost.engines.worker.asgi import WorkerRoutes
from modelhost.engines.worker.batcher import Batcher
from modelhost.engines.worker.figures import worker_metrics
from modelhost.engines.worker.library import Loaded
from modelhost.engines.worker.process import announce_failed, announce_ready
from modelhost.engines.worker.server import serve

Load = Callable[[Mapping[str, Any]], Loaded]
"""Loads the model of a configuration. Any exception is announced as the reason why the worker cannot start."""

TASKS = ("chat", "completions", "tokenize", "detokenize")
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
        traceback.print_exception(error)
        announce_failed("load_failed", f"{type(error).__name__}: {error}")
        sys.stderr.flush()
        os._exit(1)

    def announce(url: str) -> None:
        mailbox.open()
        announce_ready(
            url,
            context_length=config["context_length"],
            slots=config["slots"],
            tasks=TASKS,
            engine_version=loaded.version,
            chat_stops=config["chat_stops"],
            sees_images=False,
            hears_audio=False,
        )

    metrics = worker_metrics(loaded, batcher.figures, config["slots"] * config["context_length"])
    routes = WorkerRoutes(LibraryAnswers(loaded, batcher, config), config, metrics)
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

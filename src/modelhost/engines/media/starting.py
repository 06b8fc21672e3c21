"""The life of a worker for sound: load, announce, serve."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelhost.engines.media.routes import MediaRoutes, Prepare
from modelhost.engines.worker.process import announce_load_error, announce_ready
from modelhost.engines.worker.server import serve


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedMedia:
    """A loaded model. ``tasks`` prepares its jobs, by task and path."""

    tasks: Mapping[str, tuple[str, Prepare]]
    version: str
    voices: tuple[str, ...] = ()


def run(config: Mapping[str, Any], load: Callable[[Mapping[str, Any]], LoadedMedia]) -> None:
    """Load the model of ``config``, announce the address, and serve until the process ends."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        loaded = load(config)
    except BaseException as error:  # noqa: BLE001 (a library may raise anything when it loads)
        announce_load_error(error)
        os._exit(1)

    def announce(url: str) -> None:
        announce_ready(
            url,
            slots=1,
            tasks=loaded.tasks,
            engine_version=loaded.version,
            voices=loaded.voices,
            reports_begin=True,
        )

    serve(MediaRoutes(config, dict(loaded.tasks.values())), config.get("socket_path"), announce)

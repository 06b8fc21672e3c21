"""Finding what an entry names, without holding up the event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from modelhost.engines import llamacpp_devices, torch_devices
from modelhost.errors import InvalidRequest
from modelhost.models.choosing import FOR_BOTH, REMOTE, likely_engine
from modelhost.models.directory_needs import ON_GPUS
from modelhost.models.download import DownloadProgress, FileProgress, StoppableProgress, download
from modelhost.models.hub_reference import parse_reference
from modelhost.models.registry import ModelEntry
from modelhost.models.resolve import Resolved, resolve, worker_python
from modelhost.workers.gpus import gpus, have_driver
from modelhost.workers.machine import available_memory

WITHOUT_CUDA = (REMOTE, FOR_BOTH)
"""Engines whose worker has no GPU of NVIDIA's: it is elsewhere, or its wheel is for CPUs and Metal."""


async def find(entry: ModelEntry, on_progress: Callable[[float], None]) -> Resolved:
    """Return the files and the needs of ``entry``, downloading them if need be; ``on_progress`` is told the share of
    the present file that is here, from 0 to 1.

    Raises:
        SetupError: the model or a setting cannot be used.
    """
    loop = asyncio.get_running_loop()

    def tell(progress: FileProgress) -> None:
        loop.call_soon_threadsafe(on_progress, progress.done_bytes / max(progress.total_bytes, 1))

    return await find_telling(entry, tell)


async def find_telling(entry: ModelEntry, on_download: DownloadProgress | None) -> Resolved:
    """As :func:`find`; ``on_download`` is called in the thread that downloads."""
    download = StoppableProgress(on_download)
    try:
        return await asyncio.to_thread(_resolve, entry, download)
    except asyncio.CancelledError:
        download.stop()
        raise


def _resolve(entry: ModelEntry, on_download: DownloadProgress) -> Resolved:
    settings = entry.settings
    usable: list[int] = []
    engine = likely_engine(settings)
    uses_gpus = torch_devices.uses_gpus if engine in ON_GPUS else llamacpp_devices.uses_gpus
    if engine not in WITHOUT_CUDA and have_driver() and uses_gpus(worker_python(engine, settings) or sys.executable):
        usable = [gpu.index for gpu in gpus()]
    return resolve(settings, gpus=usable, available_bytes=available_memory(), on_download=on_download)


async def pull(reference: str, *, revision: str | None, on_progress: DownloadProgress) -> Path:
    """Download a model from the hub; return its (first) file.

    Raises:
        InvalidRequest: ``reference`` is no hub id.
        DownloadFailed, EngineMissing: the hub did not give it, or it has no file that can be served.
    """
    parsed = parse_reference(reference, revision)
    if parsed is None:
        raise InvalidRequest(f'"{reference}" is no hub id: those look like org/name or org/name:quant.', param="model")
    progress = StoppableProgress(on_progress)
    try:
        return await asyncio.to_thread(download, parsed, progress, refresh=True)
    except asyncio.CancelledError:
        progress.stop()
        raise

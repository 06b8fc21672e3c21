"""Finding what an entry names, without holding up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from modelhost.config.directories import data_directory
from modelhost.config.settings import Settings
from modelhost.config.vllm_environment import PREFERS_FLOAT16
from modelhost.engines.base import Engine
from modelhost.engines.installed import how_to_install, install_command, why_environment_unused
from modelhost.errors import InvalidRequest
from modelhost.logs import get_logger, has_debug
from modelhost.models.files.model_files import are_unchanged
from modelhost.models.hub.cache import download
from modelhost.models.hub.progress import DownloadProgress, FileProgress, StoppableProgress
from modelhost.models.hub.references import parse_reference
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.request_defaults import check_defaults
from modelhost.models.resolve import engine_choice
from modelhost.models.resolve.locate import Located
from modelhost.models.resolve.resolve import find_files, resolve
from modelhost.models.resolve.resolved import Resolved
from modelhost.models.resolve.runtime import Headroom, Runtime
from modelhost.workers.machine import available_memory

log = get_logger(__name__)


async def find(
    entry: ModelEntry, on_progress: Callable[[float], None], *, headroom: Headroom | None = None
) -> Resolved:
    """Return the files and the needs of ``entry``, downloading them if necessary; ``on_progress`` is called with the
    share that has arrived, from 0 to 1. ``headroom`` is the memory that the model will find.

    Raises:
        SetupError: the model or a setting cannot be used.
    """
    loop = asyncio.get_running_loop()

    def report(progress: FileProgress) -> None:
        loop.call_soon_threadsafe(on_progress, progress.fraction)

    return await find_with_progress(entry, report, headroom=headroom)


async def is_current(resolved: Resolved) -> bool:
    """Return whether the files are still those that were read."""
    return not resolved.stamps or await asyncio.to_thread(are_unchanged, resolved.stamps)


async def find_with_progress(
    entry: ModelEntry, on_download: DownloadProgress | None, *, headroom: Headroom | None = None
) -> Resolved:
    """As :func:`find`; ``on_download`` is called in the thread that downloads."""
    download = StoppableProgress(on_download)
    try:
        return await asyncio.to_thread(_resolve, entry, download, headroom or Headroom())
    except asyncio.CancelledError:
        download.stop()
        raise


def _resolve(entry: ModelEntry, on_download: DownloadProgress, headroom: Headroom) -> Resolved:
    def accept(engine: Engine) -> None:
        check_defaults(entry.defaults, engine, model=entry.name)
        engine.complete_options(entry.settings.engine_options)

    found = find_files(entry.settings, on_download, accept)
    engine = engine_choice.engine_of(found, entry.settings)
    if better := engine_choice.better_engine(engine.name, found, entry.settings):
        way_out = how_to_install(better)
        log.info("engine_is_second_choice", model=entry.name, engine=engine.name, better=better, way_out=way_out)
    if why := why_environment_unused(engine.name, data_directory(entry.settings)):
        way_out = install_command(engine.name)
        log.warning("engine_build_unused", model=entry.name, engine=engine.name, why=why, way_out=way_out)
    resolved, remarks = resolve_found(entry, found, headroom)
    for remark in remarks:
        log.warning("launch_parameter", model=entry.name, remark=remark)
    if has_debug():
        _log_found(entry, found, resolved, headroom)
    return resolved


def _log_found(entry: ModelEntry, found: Located, resolved: Resolved, headroom: Headroom) -> None:
    reason, engine = engine_choice.engine_reason(found, entry.settings), resolved.engine
    log.debug("engine_chosen", model=entry.name, engine=engine.name, kind=found.kind, reason=reason)
    log.debug(
        "model_sized",
        model=entry.name,
        context_length=resolved.spec.context_length,
        slots=resolved.spec.slots,
        threads=resolved.spec.threads,
        need_bytes=dict(resolved.need_bytes),
        available_bytes=available_memory() + headroom.freed_bytes,
        gpus=list(resolved.spec.gpus),
        gpu_layers=resolved.spec.gpu_layers,
        gpu_split=list(resolved.spec.gpu_split),
    )


def resolve_found(
    entry: ModelEntry, found: Located, headroom: Headroom | None = None
) -> tuple[Resolved, tuple[str, ...]]:
    """Return the model of ``entry``, which is at ``found``, and what came of its launch parameters. Blocks.

    ``headroom`` is the memory that it will find; ``None``: GPUs as if nothing were on them, and main memory as it is.

    Raises:
        SetupError: the model or a setting cannot be used.
    """
    engine = engine_choice.engine_of(found, entry.settings)
    check_defaults(entry.defaults, engine, model=entry.name)
    settings, remarks = engine_choice.with_params(entry.settings, entry.launch, engine)
    runtime = Runtime.of(engine_choice.engine_of(found, settings), settings)
    resolved = resolve(
        settings,
        found=found,
        runtime=runtime,
        gpus=runtime.usable_gpus(settings, headroom),
        available_bytes=available_memory() + (headroom.freed_bytes if headroom is not None else 0),
        prefers_float16="dtype" not in entry.launch and PREFERS_FLOAT16 in entry.launch,
    )
    unused_gpu = runtime.unused_gpu(settings)
    if unused_gpu is None and (remark := runtime.layers_remark(settings)):
        remarks = (*remarks, remark)
    return replace(resolved, unused_gpu=unused_gpu), remarks


async def pull(reference: str, settings: Settings, *, revision: str | None, on_progress: DownloadProgress) -> Path:
    """Download a model from the hub; return its (first) file.

    Raises:
        InvalidRequest: ``reference`` is no hub id.
        DownloadFailed, EngineMissing: the hub did not give it, or nothing here runs it.
    """
    parsed = parse_reference(reference, revision)
    if parsed is None:
        raise InvalidRequest(f'"{reference}" is no hub id: those look like org/name or org/name:quant.', param="model")
    progress = StoppableProgress(on_progress)
    try:
        runs_it = partial(engine_choice.default_engine_for, settings=settings, what=parsed.repository)
        return await asyncio.to_thread(download, parsed, progress, refresh=True, on_format=runs_it)
    except asyncio.CancelledError:
        progress.stop()
        raise

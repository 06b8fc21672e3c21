"""The description of a model that every door shows: what is known of it, of its worker and of its queue."""

from __future__ import annotations

import time

from modelhost.models.files.memory_pools import Bytes, memory_in, without_gpus
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.occupancy import Occupancy
from modelhost.models.residency.record import ModelRecord
from modelhost.models.residency.status import SHOWN_OPTIONS, ModelStatus, State


def describe(model: HostedModel, record: ModelRecord, occupancy: Occupancy, now: float) -> ModelStatus:
    """Return what can be said of a model at ``now``, on the clock of its ``record``."""
    since_boot = time.time() - now
    need = _need(model, record)
    throughput = model.throughput.measured(time.perf_counter())
    error = record.last_error or model.reload_error
    return ModelStatus(
        name=model.name,
        aliases=model.aliases,
        engine=model.engine.name,
        state=record.state,
        activity=record.activity,
        progress=model.progress if record.state is State.LOADING else None,
        need_bytes=None if need is None else memory_in(need),
        memory_bytes=model.memory if model.worker is not None else None,
        size_bytes=model.known.size_bytes if model.known else None,
        context_length=model.context_length,
        max_tokens=model.max_tokens,
        slots=model.slots,
        in_flight=record.in_flight,
        queue_length=len(record.queue),
        oldest_wait_seconds=now - record.queue[0].queued_at if record.queue else None,
        last_error=error.message if error else None,
        obstacle=_obstacle(model, record, occupancy, need),
        tokens_per_second=throughput.tokens_per_second,
        latency_seconds=throughput.latency_seconds,
        loads=record.loads,
        evictions=record.evictions,
        is_pinned=record.policy.is_pinned,
        idle_unload_seconds=record.idle_seconds,
        loaded_at=model.loaded_at if model.worker is not None else None,
        last_used_at=record.last_used + since_boot if record.last_used else None,
        operations=model.expected_operations,
        sees_images=model.sees_images,
        hears_audio=model.may_hear,
        engine_version=model.engine_version,
        dtype=model.dtype,
        quantization=model.quantization,
        engine_options={name: value for name, value in model.options.items() if name in SHOWN_OPTIONS},
        load_config=model.load_config,
        is_config_temporary=model.is_config_temporary,
        defaults=model.defaults,
        notes=model.entry.notes,
        adapters=model.adapter_names,
    )


def _need(model: HostedModel, record: ModelRecord) -> Bytes | None:
    """What it takes, or will take as its files are now."""
    if model.preview is None or model.worker is not None:
        return record.need
    return model.preview.resolved.charge if model.preview.resolved else None


def _obstacle(model: HostedModel, record: ModelRecord, occupancy: Occupancy, need: Bytes | None) -> str | None:
    """Why it could not be loaded if it were wanted now; ``None`` if it could, or is on its way."""
    if record.state is not State.UNLOADED:
        return None
    error = model.preview.error if model.preview else None
    if error is None and need is not None:
        is_fitted = model.known is not None and model.known.is_fitted_to_gpus
        error = occupancy.shortage(record, without_gpus(need) if is_fitted else need)
    return error.message if error else None

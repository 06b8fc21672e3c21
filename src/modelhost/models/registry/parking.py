"""candle-vllm's ``parking_lot`` as settings of modelhost, with warnings and problems for what has no equivalent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from modelhost.engines.base import AcceptedParams
from modelhost.models.registry.schema import ParkingLot
from modelhost.plurals import counted

MEMORY = "memory"


def parking_lot_settings(lots: Iterable[ParkingLot | None], *, cores: int) -> AcceptedParams:
    """Return the settings of ``lots`` (of all models, of one, of its params); a later one wins, key by key."""
    values: dict[str, Any] = {}
    for lot in lots:
        values |= _flat(lot)
    settings: dict[str, Any] = {}
    for key, setting in (("max_queue_depth", "queue_size"), ("timeout_secs", "request_timeout")):
        given = values.get(f"limits.{key}", values.get(f"pool.{key}"))
        if given is not None:
            settings[setting] = given
    warnings = []
    threads = values.get("pool.worker_threads")
    if threads is not None:
        settings["threads"] = min(threads, cores)
        if threads > cores:
            warnings.append(
                f'"parking_lot.pool.worker_threads": {threads} is more than the {counted(cores, "core")} this process '
                f"may use; {cores} {'is' if cores == 1 else 'are'} used"
            )
    if "limits.max_units" in values:
        warnings.append(
            '"parking_lot.limits.max_units" has no effect: max_num_seqs bounds the requests at once, kvcache_mem_gpu '
            "their memory"
        )
    if "mailbox.retention_secs" in values:
        warnings.append(
            '"parking_lot.mailbox.retention_secs" has no effect: an answer goes to its client and is not kept'
        )
    return AcceptedParams(settings=settings, problems=tuple(_refused(values)), warnings=tuple(warnings))


def _flat(lot: ParkingLot | None) -> dict[str, Any]:
    """The values as ``limits.timeout_secs``."""
    found: dict[str, Any] = {}
    for part in type(lot).model_fields if lot is not None else ():
        inner = getattr(lot, part)
        if isinstance(inner, BaseModel):
            found |= {f"{part}.{key}": value for key, value in inner.model_dump(exclude_none=True).items()}
    return found


def _refused(values: dict[str, Any]) -> list[str]:
    """Return a problem for each feature that is not supported: accepting it would be a promise that is not kept."""
    problems = []
    for part in ("queue", "mailbox"):
        backend = values.get(f"{part}.backend", MEMORY)
        if backend != MEMORY:
            problems.append(
                f'"parking_lot.{part}.backend": "{backend}" is not part of this version: requests and answers are kept '
                'in memory only; set it to "memory"'
            )
    if values.get("queue.persistence"):
        problems.append(
            '"parking_lot.queue.persistence" is not part of this version: waiting requests end with the host; set it '
            "to false"
        )
    if values.get("mailbox.webhook", {}).get("enabled"):
        problems.append('"parking_lot.mailbox.webhook" is not part of this version; set its "enabled" to false')
    return problems

"""The memory budget: what loaded models take of it, which wanted model is loaded next, and which are evicted for it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from modelhost.errors import InsufficientMemory
from modelhost.models.files.memory_pools import Bytes, memory_in, on_gpus, total, without_gpus
from modelhost.models.residency import refusals
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.planner import EvictionRank, Plan, Resident, excess_over, plan, relief
from modelhost.models.residency.record import LoadReason, ModelRecord, Phase
from modelhost.models.residency.status import SHOWN_OPTIONS, ModelStatus, State
from modelhost.models.resolve.runtime import Headroom


@dataclass(slots=True, kw_only=True)
class Placement:
    """What to do now. Records are in the order in which it has to be done."""

    fetch: list[ModelRecord] = field(default_factory=list)
    load: list[ModelRecord] = field(default_factory=list)
    evict: list[ModelRecord] = field(default_factory=list)
    yielding: list[ModelRecord] = field(default_factory=list)
    """Loaded models whose memory is wanted: they finish their bursts."""
    impossible: list[tuple[ModelRecord, Plan]] = field(default_factory=list)
    abandoned_restarts: list[ModelRecord] = field(default_factory=list)
    """Models that would be restarted if that did not evict another one."""
    next_model: str | None = None
    """The model for which memory is being freed; no other model takes that."""
    is_over: bool = False
    """Whether loaded models exceed the budget, because they turned out larger than estimated."""


def place(records: list[ModelRecord], budget: Bytes, next_model: str | None, now: float) -> Placement:
    """Return what to do for the wanted models, the longest waiting first.

    Busy models make room for one model at a time; ``next_model`` is the one from the last decision. Later ones are
    loaded, and idle models are evicted for them, as long as that takes nothing which the first one will need: however
    long its turn takes to come, no other load delays it.
    """
    return _Placing(records, budget, now).run(next_model)


class _Placing:
    """The records and residents of one decision; what it loads is added to the residents."""

    def __init__(self, records: list[ModelRecord], budget: Bytes, now: float) -> None:
        self._records = records
        self._budget = budget
        self._now = now
        self._residents = [resident for record in records if (resident := record.resident()) is not None]
        self._reserved: Resident | None = None
        self._leaving: set[str] = set()
        self._found = Placement()

    def run(self, next_model: str | None) -> Placement:
        waiting = [record for record in self._records if self._waits(record)]
        for record in sorted(waiting, key=lambda record: (record.name != next_model, record.wanted_since)):
            if record.need is None:
                self._found.fetch.append(record)
            else:
                self._decide(record, record.need)
        self._relieve()
        return self._found

    def _waits(self, record: ModelRecord) -> bool:
        is_due = record.phase is Phase.UNLOADED and record.retry_at <= self._now
        return is_due and record.is_wanted and not record.is_removed

    def _decide(self, record: ModelRecord, need: Bytes) -> None:
        decided = plan(need, self._budget, self._residents)
        if decided.missing:
            self._found.impossible.append((record, decided))
        elif not record.queue and record.load_reason is LoadReason.RESTART and (decided.evict or decided.wait_for):
            self._found.abandoned_restarts.append(record)
        elif self._reserved is not None:
            self._decide_beside_first(record, need, fits_now=decided.fits_now)
        elif decided.fits_now:
            self._load(record, need)
        else:
            self._found.next_model = record.name
            self._reserved = Resident(name=record.name, charge=need, eviction_rank=EvictionRank.PINNED)
            self._leaving = {*decided.evict, *decided.wait_for, *decided.stopping}
            self._make_room(decided)

    def _decide_beside_first(self, record: ModelRecord, need: Bytes, *, fits_now: bool) -> None:
        assert self._reserved is not None
        staying = [resident for resident in self._residents if resident.name not in self._leaving]
        beside = plan(need, self._budget, [*staying, self._reserved])
        if beside.fits_now and fits_now:
            self._load(record, need)
        elif not (beside.missing or beside.wait_for):
            self._evict(beside.evict)

    def _load(self, record: ModelRecord, need: Bytes) -> None:
        self._found.load.append(record)
        self._residents.append(Resident(name=record.name, charge=need, eviction_rank=EvictionRank.LOADING))

    def _make_room(self, decided: Plan) -> None:
        """Evict idle models once the busy ones have become idle: until then they may as well serve.

        The busy ones finish their bursts together. A model that was idle when that began may go on until they are
        done, for one of them can take long; then it has to finish too, and nobody is let in again.
        """
        if not decided.wait_for:
            self._evict(decided.evict)
            return
        busy, idle = self._named(decided.wait_for), self._named(decided.evict)
        bound = [record for record in (*busy, *idle) if record.burst is not None]
        if not bound:
            self._found.yielding = busy
        elif any(record.in_flight for record in bound):
            self._found.yielding = bound
        else:
            self._found.yielding = [*busy, *idle]

    def _evict(self, names: Collection[str]) -> None:
        self._found.evict += self._named(names)
        self._residents = [
            replace(resident, eviction_rank=EvictionRank.STOPPING) if resident.name in names else resident
            for resident in self._residents
        ]

    def _relieve(self) -> None:
        """Evict idle models until the budget holds again, if models turned out larger than estimated."""
        if excess_over(self._budget, self._residents):
            self._found.is_over = True
            self._evict(relief(self._budget, self._residents))

    def _named(self, names: Iterable[str]) -> list[ModelRecord]:
        records = {record.name: record for record in self._records}
        return [records[name] for name in names]


@dataclass(frozen=True, slots=True)
class Occupancy:
    """A view of the ledger's ``records``, as they are at each call. ``budget`` limits memory by pool."""

    budget: Bytes
    records: Mapping[str, ModelRecord]

    def used(self) -> dict[str, int]:
        """Return what is taken of the budget, by pool."""
        return total(memory_in(resident.charge) for record in self.records.values() if (resident := record.resident()))

    def headroom(self, name: str) -> Headroom:
        """Return the GPU memory that a model finds once all others that may be unloaded are.

        Pinned ones stay, or are loaded again.
        """
        pinned = [record for record in self.records.values() if record.policy.is_pinned and record.name != name]
        movable = [record for record in self.records.values() if record not in pinned]
        held = total(record.charge or record.need or {} for record in pinned)
        return Headroom(
            freed=on_gpus(total(record.charge for record in movable)),
            limits={pool: max(0, count - held.get(pool, 0)) for pool, count in on_gpus(self.budget).items()},
        )

    def shortage(self, record: ModelRecord, need: Bytes) -> InsufficientMemory | None:
        """Return why the model of ``record``, needing ``need``, cannot fit whatever is unloaded; ``None`` if it can."""
        others = [other.resident() for other in self.records.values() if other is not record]
        found = plan(need, self.budget, [resident for resident in others if resident is not None])
        return self.insufficient(record, found, need) if found.missing else None

    def insufficient(self, record: ModelRecord, found: Plan, need: Bytes) -> InsufficientMemory:
        """Return the error that says what ``found``, the plan for ``record``, lacks and which models hold it."""
        held = {name: self.records[name].charge for name in found.holders}
        return refusals.insufficient(record, found, need, held)


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

"""What has to be evicted so that a model fits, and when: a pure decision over needs, budget and residents.

The number of loaded models is one more pool beside those of memory (:data:`MODELS`), limited by the same arithmetic.

Two models that do not fit together are served in bursts: from the moment when the second one waits, the loaded one may
start so many more requests, within so much time; then it finishes them, and the two are swapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

from msgspec import Struct

from modelhost.models.files.memory_pools import MODELS, Bytes, total


class EvictionRank(IntEnum):
    """How easily a model is evicted; the first rank goes first, the last never."""

    STOPPING = 0
    IDLE = 1
    YIELDING = 2
    """Busy, and chosen before to yield: choosing another one now would start the wait again."""
    BUSY = 3
    LOADING = 4
    PINNED = 5


class Resident(Struct, frozen=True, kw_only=True):
    """A model that occupies memory."""

    name: str
    charge: Bytes
    """What it is charged, by pool; that includes one of :data:`MODELS` unless stated otherwise."""
    eviction_rank: EvictionRank
    last_used: float = 0.0


class Plan(Struct, frozen=True, kw_only=True):
    """What has to happen before a model can be loaded; empty if it fits now."""

    evict: tuple[str, ...] = ()
    """Idle models to unload, the longest unused first."""
    wait_for: tuple[str, ...] = ()
    """Busy or loading models that have to become idle and then be evicted."""
    stopping: tuple[str, ...] = ()
    """Models that are being stopped, whose memory is needed."""
    missing: Bytes = {}
    """What is missing whatever is evicted; empty if it can fit."""
    holders: tuple[str, ...] = ()
    """With ``missing``: the models that hold memory and may not be unloaded."""

    @property
    def fits_now(self) -> bool:
        return not (self.evict or self.wait_for or self.stopping or self.missing)


def plan(need: Bytes, budget: Bytes, residents: Sequence[Resident]) -> Plan:
    """Return what has to be evicted for ``need`` to fit into ``budget`` beside the rest of ``residents``.

    A pool without a budget is unlimited. As few models as possible are evicted, the longest unused first; busy ones
    only if the idle ones are not enough, pinned ones never.
    """
    need = {pool: count for pool, count in {MODELS: 1, **need}.items() if count > 0}
    pinned = [resident for resident in residents if resident.eviction_rank is EvictionRank.PINNED]
    missing = _excess(need, budget, pinned)
    if missing:
        return Plan(
            missing=missing, holders=tuple(resident.name for resident in pinned if _overlaps(resident, missing))
        )
    movable = sorted(
        (resident for resident in residents if resident.eviction_rank is not EvictionRank.PINNED),
        key=lambda resident: (resident.eviction_rank, resident.last_used),
    )
    staying = list(residents)
    going: list[Resident] = []
    for resident in movable:
        if not _excess(need, budget, staying):
            break
        staying.remove(resident)
        going.append(resident)
    going = _without_needless(need, budget, staying, going)
    return Plan(
        evict=tuple(resident.name for resident in going if resident.eviction_rank is EvictionRank.IDLE),
        wait_for=tuple(resident.name for resident in going if resident.eviction_rank > EvictionRank.IDLE),
        stopping=tuple(resident.name for resident in going if resident.eviction_rank is EvictionRank.STOPPING),
    )


def relief(budget: Bytes, residents: Sequence[Resident]) -> tuple[str, ...]:
    """Return the idle models to unload, the longest unused first, because what is loaded is over the budget already.

    A model that is too large all by itself stays: it was let in, and unloading it would only have it loaded again.
    """
    staying = list(residents)
    going: list[str] = []
    for resident in sorted(residents, key=lambda resident: (resident.eviction_rank, resident.last_used)):
        excess = excess_over(budget, staying)
        holders = [other for other in staying if _overlaps(other, excess)]
        if resident.eviction_rank > EvictionRank.IDLE or len(holders) < 2:
            break
        if resident in holders:
            staying.remove(resident)
            if resident.eviction_rank is EvictionRank.IDLE:
                going.append(resident.name)
    return tuple(going)


def excess_over(budget: Bytes, residents: Iterable[Resident]) -> dict[str, int]:
    """Return by how much the residents are over the budget, by pool; empty if they are not."""
    return _excess(dict.fromkeys(budget, 0), budget, residents)


def _charge(resident: Resident) -> Mapping[str, int]:
    return {MODELS: 1, **resident.charge}


def _excess(need: Bytes, budget: Bytes, residents: Iterable[Resident]) -> dict[str, int]:
    """Return by how much each pool would be over its budget; empty if all fits."""
    sums = total([need, *(_charge(resident) for resident in residents)])
    return {pool: sums[pool] - budget[pool] for pool in need if pool in budget and sums[pool] > budget[pool]}


def _overlaps(resident: Resident, pools: Bytes) -> bool:
    charge = _charge(resident)
    return any(charge.get(pool, 0) > 0 for pool in pools)


def _without_needless(need: Bytes, budget: Bytes, staying: list[Resident], going: list[Resident]) -> list[Resident]:
    """Keep those whose eviction a larger one, taken later, has made unnecessary; the most valuable are kept first."""
    kept = list(going)
    for resident in reversed(going):
        if not _excess(need, budget, [*staying, resident]):
            staying.append(resident)
            kept.remove(resident)
    return kept


class BurstLimits(Struct, frozen=True, kw_only=True):
    """The limits of a burst: at most ``requests`` are started, within ``seconds``."""

    requests: int = 32
    seconds: float = 5.0


class Burst(Struct, frozen=True, kw_only=True):
    """The burst of a model since ``since``, the moment when another one began to wait for its memory."""

    since: float
    begun: int = 0


def may_start_request(burst: Burst | None, bursts: BurstLimits, now: float) -> bool:
    """Whether the model may start one more request."""
    return burst is None or (burst.begun < bursts.requests and now - burst.since < bursts.seconds)

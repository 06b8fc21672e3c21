"""What loaded models take of the memory budget, and what is left of it for another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelhost.errors import InsufficientMemory
from modelhost.models.files.memory_pools import Bytes, memory_in, on_gpus, total
from modelhost.models.residency import refusals
from modelhost.models.residency.planner import Plan, plan
from modelhost.models.residency.record import ModelRecord
from modelhost.models.resolve.headroom import Headroom


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

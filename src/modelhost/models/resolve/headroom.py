"""The memory that a model finds when it is loaded: what is free, and what evictions free for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from modelhost.config.settings import Settings
from modelhost.config.value_types import parse_size
from modelhost.models.files.memory_pools import GPU, RAM, Bytes
from modelhost.workers.gpus import Gpu, gpus
from modelhost.workers.machine import machine_memory

DEFAULT_BUDGET: Final = "90%"
MARGIN_SHARE: Final = 0.03
"""Of a GPU's memory, left free for what no estimate knows of: the driver, fragments, other programs that grow."""
LEAST_MARGIN_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What is freed for a model, and what limits it."""

    freed: Bytes = field(default_factory=dict)
    """What is in use now, and is freed before the model is loaded."""
    limits: Bytes = field(default_factory=dict)
    """What it may take at most: the budget without what pinned models take."""

    @property
    def freed_bytes(self) -> int:
        """Main memory that is freed."""
        return self.freed.get(RAM, 0)

    def on(self, gpus: Iterable[Gpu]) -> Mapping[int, int]:
        """Return the bytes of each of ``gpus``, as they are now, that a model may be given."""
        return {gpu.index: self._on(gpu) for gpu in gpus}

    def _on(self, gpu: Gpu) -> int:
        pool = f"{GPU}{gpu.index}"
        free = min(gpu.free_bytes + self.freed.get(pool, 0), gpu.total_bytes)
        margin = max(LEAST_MARGIN_BYTES, int(gpu.total_bytes * MARGIN_SHARE))
        return max(0, min(free - margin, self.limits.get(pool, gpu.total_bytes)))


def gpu_budget(settings: Settings, gpus: Iterable[Gpu]) -> Mapping[str, int]:
    """Return what all models together may take of ``gpus``, by pool."""
    share = parse_size(settings.gpu_memory_budget or DEFAULT_BUDGET)
    return {f"{GPU}{gpu.index}": share.of(gpu.total_bytes) for gpu in gpus}


def headroom_of_empty_machine(settings: Settings, gpus: Iterable[Gpu]) -> Headroom:
    """Return the memory of a machine on which nothing else runs, to describe a model that is not to be loaded yet."""
    gpus = tuple(gpus)
    return Headroom(freed={f"{GPU}{gpu.index}": gpu.total_bytes for gpu in gpus}, limits=gpu_budget(settings, gpus))


def memory_budget(settings: Settings) -> dict[str, int]:
    """Return what all models together may take, by pool."""
    found = {RAM: parse_size(settings.memory_budget or DEFAULT_BUDGET).of(machine_memory())}
    return {**found, **gpu_budget(settings, gpus())}

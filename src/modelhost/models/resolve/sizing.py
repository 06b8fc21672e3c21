"""Context length, slots and layers on GPUs of a model: pure arithmetic over its file's header and free memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from modelhost.engines import TRAITS
from modelhost.errors import ConfigError
from modelhost.models.files.gguf import GgufHeader
from modelhost.models.files.gguf_needs import CUDA_CONTEXT_BYTES, GpuShare, cache_cells, layer_count, need_bytes
from modelhost.models.files.memory_pools import GPU, RAM, Bytes
from modelhost.plurals import counted

MOST_SLOTS = 8  # of the default; more conversations at once bring a CPU nothing and cost memory each
LONGEST_DEFAULT = 32768  # tokens; longer contexts have to be requested
SHORTEST_DEFAULT = 4096
SHARE_OF_MEMORY = 0.25  # of what is available, for the key-value caches of all slots together
FALLBACK_CONTEXT = 4096  # for a file that does not say what it was trained for
CONTEXT_STEP = 256  # llama.cpp rounds to it
SHORTEST_BOUNDED = 512  # a default context is not cut further, whatever the bound
MIB = 1 << 20
LOAD_BYTES_PER_SECOND = 50_000_000  # a slow disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Tokens of one conversation, and conversations at once."""

    context_length: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedSize:
    """What the settings request; ``None`` leaves it to the memory."""

    context_length: int | None = None
    slots: int | None = None
    max_slots: int | None = None
    kv_cache_type: str = "f16"
    cache_bytes: int | None = None
    """Bound for the key-value caches of all slots together."""


class SizedModel(Protocol):
    """A model, as far as its size matters."""

    @property
    def context_length(self) -> int | None:
        """What it was made for."""
        ...

    def kv_bytes_per_token(self, cache_type: str, /) -> float:
        """Return the size of its key-value cache."""
        ...


def size_for(header: SizedModel, wanted: RequestedSize, *, available_bytes: int) -> Size:
    """Return the size that ``header``'s model gets; a requested context or number of slots is never changed.

    The model's own context is kept as long as at least one conversation of it fits into a quarter of the memory;
    it is halved until it does, but not below 4,096 tokens. With a bound for the caches nothing exceeds the bound.

    Raises:
        ConfigError: the requested size does not fit the bound.
    """
    per_token = max(1.0, header.kv_bytes_per_token(wanted.kv_cache_type))
    if wanted.cache_bytes is not None:
        return _bounded(header, wanted, int(wanted.cache_bytes / per_token))
    tokens = available_bytes * SHARE_OF_MEMORY / per_token
    context_length, slots = wanted.context_length, wanted.slots
    if context_length is None:
        context_length = _default_context(header)
        while context_length // 2 >= SHORTEST_DEFAULT and context_length * (slots or 1) > tokens:
            context_length //= 2
    if slots is None:
        slots = max(1, min(wanted.max_slots or MOST_SLOTS, int(tokens // context_length)))
    return Size(context_length=context_length, slots=slots)


def _bounded(header: SizedModel, wanted: RequestedSize, tokens: int) -> Size:
    """Return the size within ``tokens`` for all slots together: slots are left out first, then the context shrinks."""
    slots = wanted.slots or 1
    context_length = wanted.context_length
    if context_length is None:
        default = _default_context(header)
        context_length = min(default, tokens // slots // CONTEXT_STEP * CONTEXT_STEP)
        if context_length < min(default, SHORTEST_BOUNDED):
            raise _does_not_fit(header, wanted, min(default, SHORTEST_BOUNDED), slots)
    elif context_length * slots > tokens:
        raise _does_not_fit(header, wanted, context_length, slots)
    if wanted.slots is None:
        slots = min(wanted.max_slots or MOST_SLOTS, tokens // context_length)
    return Size(context_length=context_length, slots=slots)


def _default_context(header: SizedModel) -> int:
    return min(header.context_length or FALLBACK_CONTEXT, LONGEST_DEFAULT)


def _does_not_fit(header: SizedModel, wanted: RequestedSize, context_length: int, slots: int) -> ConfigError:
    need = context_length * slots * header.kv_bytes_per_token(wanted.kv_cache_type)
    bound = wanted.cache_bytes or 0
    smaller = "" if wanted.kv_cache_type.startswith("q") else ", or take kv_cache_type q8_0"
    return ConfigError(
        f"kv_cache_memory: {counted(slots, 'conversation')} of {context_length:,} tokens need "
        f"{math.ceil(need / MIB):,} MiB of key-value cache, and it may take {bound // MIB:,} MiB: allow more, shorten "
        f"context_length, lower slots{smaller}",
        param="kv_cache_memory",
        need_bytes=math.ceil(need),
        bound_bytes=bound,
    )


def load_timeout_seconds(size_bytes: int, *, engine: str) -> float:
    """Return how long loading may take by default: what the engine needs anyway, and the time of a slow disk."""
    return TRAITS[engine].start_seconds + size_bytes / LOAD_BYTES_PER_SECOND


WORK_BYTES: Final = 300_000_000
"""Of each GPU for the buffers of the computation, before the context that they depend on is decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Those on GPUs."""

    count: int | None
    """``None``: the host sees no GPU, and the engine does what it does."""
    split: tuple[int, ...] = ()
    """How many each of the GPUs gets; empty if the host sees none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """A model, what is loaded with it, and the GPUs that it could be on.

    llama.cpp could fit a model by itself (``fit_params``), but then nobody could book its memory before it is loaded.
    What does not fit on the GPUs stays in main memory, and is computed there.
    """

    header: GgufHeader
    rooms: Mapping[int, int]
    """The bytes of each GPU that it may take."""
    requested_layers: int | None
    """How many layers its settings want on GPUs; ``None``: as many as fit."""
    context_length: int
    slots: int
    kv_cache_type: str
    batch_size: int
    draft: GgufHeader | None = None
    """llama.cpp puts all of it on the GPUs that the model is on."""
    encoder_bytes: int = 0
    """llama.cpp puts it on the first GPU, and on none if no layer of the model is on one."""
    adapter_bytes: int = 0
    """They stay in main memory."""

    @property
    def total(self) -> int:
        """All layers of the model."""
        return layer_count(self.header)

    @property
    def cells(self) -> int:
        return cache_cells(self.context_length, self.slots)

    def layers(self, most: int | None = None) -> Layers:
        """Return the layers that go to GPUs, ``most`` at most.

        As many as fit, and if fewer fit than there are, no GPU gets more than it has room for. Several share them by
        the room that they have. Requested layers are spread likewise, whether they fit or not.
        """
        wanted = min(each for each in (self.total, self.requested_layers, most) if each is not None)
        if not self.rooms:
            return Layers(count=self.requested_layers if most is None else wanted)
        split = self._split(wanted)
        return Layers(count=sum(split), split=split)

    def need(self, layers: Layers) -> Bytes:
        """Return the estimated bytes by pool for all together."""
        used = {gpu: part for gpu, part in zip(self.rooms, layers.split, strict=True) if part} if layers.split else {}
        need = Counter({RAM: self.adapter_bytes})
        need[f"{GPU}{next(iter(used))}" if used else RAM] += self.encoder_bytes
        need.update(self._need_of(self.header, layers.count, tuple(used), tuple(used.values())))
        if self.draft is not None:
            need.update(self._need_of(self.draft, None, tuple(used)))
        return dict(need)

    def _need_of(
        self, header: GgufHeader, count: int | None, gpus: Sequence[int], split: Sequence[int] = ()
    ) -> Mapping[str, int]:
        return need_bytes(
            header,
            context_length=self.context_length,
            slots=self.slots,
            kv_cache_type=self.kv_cache_type,
            gpu_layers=count,
            batch_size=self.batch_size,
            gpus=gpus,
            split=split,
        )

    def _split(self, wanted: int) -> tuple[int, ...]:
        """Return how many layers each GPU gets; one that gets none is not used, and holds nothing else either."""
        part = GpuShare.of(
            self.header,
            context_length=self.context_length,
            slots=self.slots,
            kv_cache_type=self.kv_cache_type,
            batch_size=self.batch_size,
        )
        used = tuple(self.rooms)
        while used:
            room = [self.rooms[gpu] - part.fixed_bytes - self._beside(gpu, used) for gpu in used]
            counts = dict(
                zip(used, spread(wanted, room, part.layer_bytes, fits=self.requested_layers is None), strict=True)
            )
            if all(counts.values()):
                return tuple(counts.get(gpu, 0) for gpu in self.rooms)
            used = tuple(gpu for gpu in used if counts[gpu])
        return (0,) * len(self.rooms)

    def _beside(self, gpu: int, used: Sequence[int]) -> int:
        """Return what one of the GPUs ``used`` holds beside the layers of the model."""
        encoder = self.encoder_bytes if gpu == used[0] else 0
        return encoder + (self._need_of(self.draft, None, used)[f"{GPU}{gpu}"] if self.draft is not None else 0)


def spread(wanted: int, room: Sequence[float], layer_bytes: float, *, fits: bool) -> tuple[int, ...]:
    """Return how many of ``wanted`` layers each GPU gets, in proportion to its ``room``.

    ``fits``: none gets more than it has room for, and those that are left over get no place.
    """
    room = [max(0.0, each) for each in room]
    most = [int(each // layer_bytes) if fits else wanted for each in room]
    wanted = min(wanted, sum(most))
    weights = [each if bound else 0.0 for each, bound in zip(room, most, strict=True)]
    if not any(weights):
        weights = [1.0] * len(room)
    quotas = [wanted * weight / sum(weights) for weight in weights]
    counts = [min(math.floor(quota), bound) for quota, bound in zip(quotas, most, strict=True)]
    while sum(counts) < wanted:
        open_places = [place for place, count in enumerate(counts) if count < most[place]]
        counts[max(open_places, key=lambda place: quotas[place] - counts[place])] += 1
    return tuple(counts)


def memory_for_size(header: GgufHeader, rooms: Mapping[int, int], available_bytes: int) -> int:
    """Return the memory by which the context and the slots of a model are decided that may go to GPUs.

    That is the GPUs', and no more of it than leaves its weights their place: a long context would push layers off them.
    A model that does not fit on them is in main memory, too, and has what is less.
    """
    room = sum(max(0, each - CUDA_CONTEXT_BYTES - WORK_BYTES) for each in rooms.values())
    if room <= 0:
        return available_bytes
    left = room - header.size_bytes
    return min(room, available_bytes) if left <= 0 else min(room, int(left / SHARE_OF_MEMORY))

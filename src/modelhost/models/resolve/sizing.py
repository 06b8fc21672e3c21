"""Context length and slots of a model: pure arithmetic over its file's header and free memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from modelhost.engines import TRAITS
from modelhost.errors import ConfigError
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

"""How long a conversation a model gets, and how many at once: pure arithmetic over a file's header and free memory."""

from __future__ import annotations

from dataclasses import dataclass

from modelhost.models.gguf import GgufHeader

MOST_SLOTS = 8  # of the default; more conversations at once bring a CPU nothing and cost memory each
LONGEST_DEFAULT = 32768  # tokens; a longer context is there for who asks for it
SHORTEST_DEFAULT = 4096
SHARE_OF_MEMORY = 0.25  # of what is available, for the key-value caches of all slots together
FALLBACK_CONTEXT = 4096  # for a file that does not say what it was trained for
LOAD_FLOOR_SECONDS = 60.0
LOAD_BYTES_PER_SECOND = 50_000_000  # a slow disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Tokens of one conversation, and conversations at once."""

    context_length: int
    slots: int


def size_for(
    header: GgufHeader, *, available_bytes: int, context_length: int | None, slots: int | None, kv_cache_type: str
) -> Size:
    """Return the size that ``header``'s model gets; what the caller has decided is never changed.

    The model's own context is kept as long as at least one conversation of it fits into a quarter of the memory;
    it is halved until it does, but not below 4,096 tokens.
    """
    per_token = header.kv_bytes_per_token(kv_cache_type)
    budget = available_bytes * SHARE_OF_MEMORY
    wanted_slots = slots or 1
    if context_length is None:
        context_length = min(header.context_length or FALLBACK_CONTEXT, LONGEST_DEFAULT)
        while context_length // 2 >= SHORTEST_DEFAULT and context_length * per_token * wanted_slots > budget:
            context_length //= 2
    if slots is None:
        per_slot = max(1.0, context_length * per_token)
        slots = max(1, min(MOST_SLOTS, int(budget // per_slot)))
    return Size(context_length=context_length, slots=slots)


def load_timeout_seconds(size_bytes: int) -> float:
    """Return how long loading may take by default: a minute, and the time a slow disk needs."""
    return LOAD_FLOOR_SECONDS + size_bytes / LOAD_BYTES_PER_SECOND

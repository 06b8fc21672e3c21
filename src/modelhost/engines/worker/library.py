"""The interface of a library that runs models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
"""The logits of the next token, one for each entry of the vocabulary."""
NOT_NUMBERS: Final = (
    "the scores of the model are not numbers: its weights are damaged, or the number format is too small for it"
)
Cache = Any
"""The keys and values of one conversation, in the library's own form."""


class Batch(Protocol):
    """Conversations that are continued together, each by one token per step. Used in one thread."""

    def add(self, caches: Sequence[Cache]) -> None:
        """Append conversations to those of the batch."""
        ...

    def remove(self, rows: Sequence[int]) -> list[Cache]:
        """Remove conversations and return their caches; the others keep their order."""
        ...

    def step(self, tokens: Sequence[int]) -> Scores:
        """Append one token to each conversation and return their scores, one row for each."""
        ...


class Library(Protocol):
    """A loaded model. All calls come from the thread that loaded it."""

    def new_cache(self) -> Cache: ...

    def prefill(self, cache: Cache, tokens: Sequence[int]) -> Scores:
        """Append ``tokens`` to a conversation that is in no batch; return the scores after the last of them."""
        ...

    def prefill_scored(self, cache: Cache, tokens: Sequence[int]) -> Scores:
        """Append ``tokens`` as :meth:`prefill` does; return the scores after each of them, one row for each."""
        ...

    def fork(self, cache: Cache, length: int) -> Cache | None:
        """Return a copy of the first ``length`` tokens; ``None`` if the model cannot be rewound to them."""
        ...

    def size_bytes(self, cache: Cache) -> int: ...

    def new_batch(self) -> Batch: ...


def vocab_size(library: Library) -> int:
    """Return the number of scores of the model. The step that this takes also detects damaged weights.

    Raises:
        ValueError: the scores are not numbers.
    """
    scores = library.prefill(library.new_cache(), [0])
    if np.isnan(scores).any():
        raise ValueError(NOT_NUMBERS)
    return len(scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """The GPU memory of a library that keeps what it has once taken."""

    allocated_bytes: int
    cached_bytes: int
    """Kept for later use."""
    largest_free_bytes: int
    """The largest block of what is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model that an engine has loaded. ``tokenizer`` is a fast tokenizer of ``transformers``."""

    library: Library
    tokenizer: Any
    vocab_size: int
    version: str
    eos_ids: frozenset[int]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Its ``generation_config.json``."""
    gpu_memory: Callable[[], GpuMemory] | None = None
    """Returns the GPU memory of the library, in any thread; ``None``: it uses no GPU, or does not report it."""

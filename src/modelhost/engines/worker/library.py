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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    """An image as a model takes it."""

    tokens: Sequence[int]
    """What stands for it in a prompt; those that are :attr:`Vision.image_token_id` get the vectors of the image."""
    inputs: Any
    """Its pixels, in the library's own form."""


@dataclass(slots=True, kw_only=True, eq=False)
class PlacedImage:
    """An image in the prompt of one request."""

    places: NDArray[np.int64]
    """The positions in the prompt, in ascending order, that get its vectors instead of those of tokens."""
    inputs: Any
    """As those of :class:`ReadImage`."""
    vectors: Any = None
    """Its vectors in the library's own form, once they have been computed."""

    def within(self, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which of its vectors belong to the positions from ``begin`` to ``end``, and where, from ``begin``."""
        rows = np.flatnonzero((self.places >= begin) & (self.places < end))
        return rows, self.places[rows] - begin


class UnreadableImage(Exception):
    """A file that is no image; the message says why, for the client."""


class ImageFailed(Exception):
    """The model cannot take an image; the message has the reason. Other requests are not affected."""


class Vision(Protocol):
    """What a model that sees adds to its library."""

    image_token: str
    """What its chat template writes in the place of an image."""
    image_token_id: int

    def read(self, data: bytes) -> ReadImage:
        """Return the image in the file ``data``; may be called in any thread.

        Raises:
            UnreadableImage: it is damaged, too large, or of an unknown format.
        """
        ...

    def prefill(self, cache: Cache, tokens: Sequence[int], images: Sequence[PlacedImage]) -> Scores:
        """Append ``tokens`` as :meth:`Library.prefill` does, with ``images``, all those of the prompt.

        Tokens at the places of images are not looked at. Called in the thread of the library.

        Raises:
            ImageFailed: an image cannot be used; ``cache`` is as it was.
        """
        ...


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
    vision: Vision | None = None
    """``None``: it takes no images."""
    why_blind: str | None = None
    """Why it takes none, as :attr:`modelhost.engines.launch.Ready.why_blind`."""

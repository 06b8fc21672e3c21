"""The caches of finished conversations, for requests that continue them: the same first tokens have the same keys and
values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelhost.engines.worker.library import Cache, Library


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    tokens: NDArray[np.int64]
    cache: Cache
    size_bytes: int


class PrefixCache:
    """Keeps up to ``most_bytes`` of caches and evicts the least recently used. Used in one thread."""

    def __init__(self, library: Library, *, most_bytes: int) -> None:
        self._library = library
        self._most_bytes = most_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._count = 0
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """The size of all caches."""
        return self._bytes

    def take(self, prompt: Sequence[int]) -> tuple[Cache, int]:
        """Return a cache with a prefix of ``prompt``, possibly a new one, and the number of its tokens.

        The last token is never among them, since its scores are needed.
        """
        wanted = np.asarray(prompt[:-1], np.int64)
        found = [(_common(entry.tokens, wanted), key) for key, entry in self._entries.items()]
        for length, key in sorted(found, reverse=True):
            if length == 0:
                break
            entry = self._entries[key]
            if length == len(entry.tokens):
                self._drop(key)  # it is continued; it comes back longer
                return entry.cache, length
            fork = self._library.fork(entry.cache, length)
            if fork is not None:
                self._entries.move_to_end(key)
                return fork, length
        return self._library.new_cache(), 0

    def put(self, tokens: Sequence[int], cache: Cache) -> None:
        """Keep ``cache``, which holds ``tokens``, in place of the caches that it continues."""
        size_bytes = self._library.size_bytes(cache)
        if not tokens or size_bytes > self._most_bytes:
            return
        held = np.asarray(tokens, np.int64)
        for key, entry in list(self._entries.items()):
            if _common(entry.tokens, held) == len(entry.tokens):
                self._drop(key)
        while self._bytes + size_bytes > self._most_bytes:
            self._drop(next(iter(self._entries)))
        self._count += 1
        self._entries[self._count] = _Entry(held, cache, size_bytes)
        self._bytes += size_bytes

    def _drop(self, key: int) -> None:
        self._bytes -= self._entries.pop(key).size_bytes


def _common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """Return the length of the common prefix."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length

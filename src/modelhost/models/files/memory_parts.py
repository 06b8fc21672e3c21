"""What the memory of a model is for: weights, key-value cache and the rest, estimated from its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelhost.models.files.gguf import read_header
from modelhost.models.files.gguf_needs import cache_cells

GGUF: Final = ".gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryParts:
    """Bytes; ``None`` is unknown."""

    weights_bytes: int | None
    cache_bytes: int | None = None
    activation_bytes: int | None = None
    """The buffers of the computation, and the process itself."""


def estimate_parts(  # noqa: PLR0913 (what is known of a model)
    path: Path | None,
    *,
    size_bytes: int,
    need_bytes: int,
    kv_cache_type: str,
    context_length: int | None,
    slots: int | None,
) -> MemoryParts:
    """Return the parts of ``need_bytes``, the estimate for a model whose files are ``size_bytes``. Reads its header."""
    if path is None or path.suffix != GGUF or context_length is None:
        return MemoryParts(weights_bytes=size_bytes or None)
    header = read_header(path)
    cache = int(header.kv_bytes_per_token(kv_cache_type) * cache_cells(context_length, slots or 1))
    rest = max(0, need_bytes - size_bytes - cache)
    return MemoryParts(weights_bytes=size_bytes, cache_bytes=cache, activation_bytes=rest)

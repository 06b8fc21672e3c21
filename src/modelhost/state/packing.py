"""A saved state as bytes: JSON lines, the first without the conversations, then one for each; compressed or not."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import orjson
import zstandard
from pydantic import ValidationError

from modelhost.state.documents import SavedConversation, SnapshotDocument

ZSTD: Final = "zstd"
NONE: Final = "none"
_LEVEL: Final = 3
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """``sha256`` is over ``content``, in hexadecimal digits."""

    content: bytes
    compression: str
    sha256: str


def pack(document: SnapshotDocument, *, compression: bool) -> Packed:
    """Return ``document`` as bytes; line by line, so that a large one does not block other threads."""
    target = io.BytesIO()
    if compression:
        with zstandard.ZstdCompressor(level=_LEVEL).stream_writer(target, closefd=False) as writer:
            for line in _lines(document):
                writer.write(line)
    else:
        target.writelines(_lines(document))
    content = target.getvalue()
    return Packed(
        content=content, compression=ZSTD if compression else NONE, sha256=hashlib.sha256(content).hexdigest()
    )


def unpack(content: bytes, *, compression: str, sha256: str) -> SnapshotDocument:
    """Return the document from which :func:`pack` made ``content``.

    Raises:
        ValueError: ``content`` is damaged; the message says briefly how.
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("its checksum is wrong")
    if compression not in {ZSTD, NONE}:
        raise ValueError(f'its compression "{compression}" is unknown')
    try:
        lines = _unpacked_lines(content) if compression == ZSTD else iter(content.splitlines())
        first = SnapshotDocument.model_validate(orjson.loads(next(lines, b"")))
        conversations = tuple(SavedConversation.model_validate(orjson.loads(line)) for line in lines)
    except (zstandard.ZstdError, orjson.JSONDecodeError, ValidationError) as error:
        raise ValueError("it cannot be read") from error
    return first.model_copy(update={"conversations": conversations})


def _lines(document: SnapshotDocument) -> Iterator[bytes]:
    yield _line(document.model_copy(update={"conversations": ()}))
    yield from map(_line, document.conversations)


def _line(value: SnapshotDocument | SavedConversation) -> bytes:
    return orjson.dumps(value.model_dump(), option=orjson.OPT_APPEND_NEWLINE)


def _unpacked_lines(content: bytes) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=False)
    with io.BufferedReader(reader, _CHUNK) as lines:
        yield from lines

"""Whether an Ogg file is whole: it is a row of pages, each with its length, its place and its checksum (RFC 3533, 6).

A file that is cut off between two pages looks like a stream that was stored, which is read as far as it goes.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

CAPTURE: Final = b"OggS"
HEAD: Final = struct.Struct("<4sBBqIIIB")
"""Of a page: the capture pattern, its version, its flags, its position in time, its stream, its number, its checksum,
the number of its segments."""
CHECKSUM: Final = slice(22, 26)
IS_FIRST: Final = 2
"""The flag of the first page of a stream."""
IS_LAST: Final = 4
"""The flag of the last page of a stream."""
ALL_ONES: Final = 0xFFFFFFFF
REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Bytes with their bits in the other order."""


def is_whole(data: bytes) -> bool:
    """Whether the pages of ``data`` are whole, undamaged, and none is missing between two of a stream.

    What follows the last page of a stream that has ended, such as a tag of another format, is not looked at.
    """
    at, has_ended = 0, False
    numbers: dict[int, int] = {}
    while at < len(data):
        if not data.startswith(CAPTURE, at):
            return has_ended
        page = _page(data, at)
        if page is None:
            return False
        _, _, flags, _, stream, number, checksum, _ = HEAD.unpack_from(page)
        if flags & IS_FIRST:  # files that were joined may call their streams alike
            numbers.pop(stream, None)
        if checksum != checksum_of(page) or number != numbers.get(stream, number):
            return False
        numbers[stream], has_ended = number + 1, bool(flags & IS_LAST)
        at += len(page)
    return True


def _page(data: bytes, at: int) -> bytes | None:
    """Return the page that begins at ``at``; ``None`` if it is cut off."""
    if len(data) < at + HEAD.size:
        return None
    begin = at + HEAD.size + data[at + HEAD.size - 1]
    if len(data) < begin:
        return None
    end = begin + sum(data[at + HEAD.size : begin])
    return None if len(data) < end else data[at:end]


def checksum_of(page: bytes) -> int:
    """Return the checksum of a page: a CRC of 32 bits, the highest first, that begins with 0.

    zlib's has the same polynomial, takes bits lowest first, and begins and ends with all bits inverted.
    """
    zeroed = page[: CHECKSUM.start] + bytes(4) + page[CHECKSUM.stop :]
    found = zlib.crc32(zeroed.translate(REVERSED), ALL_ONES) ^ ALL_ONES
    return int(f"{found:032b}"[::-1], 2)

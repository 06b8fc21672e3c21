"""The frames of an MP3 file, read by their heads (ISO/IEC 11172-3, 2.4.1.3, and 13818-3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

BITRATES: Final[Mapping[int, tuple[int, ...]]] = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Of layer III in kbit/s, from index 1 on, by the version of MPEG (3: 1; 2: 2, and 2.5 for ``VERSION_2_5``)."""
RATES: Final[Mapping[int, tuple[int, int, int]]] = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
VERSION_1: Final = 3
VERSION_2_5: Final = 0
RESERVED: Final = 1
LAYER_3: Final = 1
MONO: Final = 3
UNKNOWN_BITRATES: Final = (0, 15)
UNKNOWN_RATE: Final = 3
TAG_BYTES: Final = 10
FOOTER: Final = 0x10
"""The flag of a tag that repeats its head at its end."""
HEAD_BYTES: Final = 4
SIDE_BYTES: Final[Mapping[tuple[bool, bool], int]] = {
    (True, False): 32,
    (True, True): 17,
    (False, False): 17,
    (False, True): 9,
}
"""Of a frame after its head, by whether it is of version 1, and of one channel."""
COUNTS: Final = (b"Xing", b"Info")
"""The marks of a first frame that holds no sound but, after flags in 4 bytes, the number of those that follow."""
HAS_COUNT: Final = 1


class Frame(NamedTuple):
    """A frame of layer III."""

    size_bytes: int
    seconds: float
    side_bytes: int


def after_tag(data: bytes) -> int:
    """Return where the sound begins, after a tag of ID3v2."""
    if not data.startswith(b"ID3") or len(data) < TAG_BYTES:
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(data[6:TAG_BYTES], (21, 14, 7, 0), strict=True))
    return TAG_BYTES + size + (TAG_BYTES if data[5] & FOOTER else 0)


def frame_of(head: bytes) -> Frame | None:
    """Return the frame of layer III that begins with ``head``; ``None`` if none does."""
    if len(head) < HEAD_BYTES or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == RESERVED or layer != LAYER_3 or bitrate in UNKNOWN_BITRATES or rate == UNKNOWN_RATE:
        return None
    is_version_1 = version == VERSION_1
    samples = 1_152 if is_version_1 else 576
    bits = 1_000 * BITRATES[VERSION_1 if is_version_1 else 2][bitrate - 1]
    hertz = RATES[version][rate]
    return Frame(
        size_bytes=samples // 8 * bits // hertz + (head[2] >> 1 & 1),
        seconds=samples / hertz,
        side_bytes=SIDE_BYTES[is_version_1, head[3] >> 6 == MONO],
    )


def counted_seconds(data: bytes) -> float | None:
    """Return the length that the first frame of a file states; ``None`` if it does not."""
    at = after_tag(data)
    frame = frame_of(data[at : at + HEAD_BYTES])
    if frame is None:
        return None
    mark = at + HEAD_BYTES + frame.side_bytes
    flags, count = (int.from_bytes(data[place : place + 4], "big") for place in (mark + 4, mark + 8))
    is_stated = data[mark : mark + 4] in COUNTS and flags & HAS_COUNT
    return count * frame.seconds if is_stated and count else None

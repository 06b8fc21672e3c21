"""How long the sound of a file is, by its headers: nothing is decoded to find out.

WAV: https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html; FLAC: RFC 9639, 8.2; the frames of MP3:
ISO/IEC 11172-3, 2.4.1.3, and 13818-3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
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
UNKNOWN_BITRATES: Final = (0, 15)
UNKNOWN_RATE: Final = 3
TAG_BYTES: Final = 10
FOOTER: Final = 0x10
"""The flag of a tag that repeats its head at its end."""
CHUNK_HEAD: Final = 8
MOST_CHUNKS: Final = 1_000
STREAM_INFO: Final = slice(18, 26)
"""Of a FLAC: the sampling rate, in 20 bits, and the number of samples, in the last 36."""


class Frame(NamedTuple):
    """A frame of an MP3."""

    size_bytes: int
    seconds: float


def seconds_of(data: bytes, container: str, *, limit: float) -> float | None:
    """Return how long a file of one of ``CONTAINERS`` is; ``None`` if its headers are damaged or do not say.

    From ``limit`` on, the rest of an MP3 is not counted.
    """
    try:
        return READERS[container](data, limit)
    except struct.error:  # it ends in the middle of a header
        return None


def _of_wav(data: bytes, _limit: float) -> float | None:
    at, bytes_per_second = 12, 0
    for _ in range(MOST_CHUNKS):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"fmt ":
            (bytes_per_second,) = struct.unpack_from("<I", data, at + CHUNK_HEAD + 8)
        elif name == b"data":
            there = min(size, len(data) - at - CHUNK_HEAD)  # streams have 0xFFFFFFFF
            return there / bytes_per_second if bytes_per_second and there else None
        at += CHUNK_HEAD + size + size % 2
    return None


def _of_flac(data: bytes, _limit: float) -> float | None:
    (packed,) = struct.unpack(">Q", data[STREAM_INFO])
    rate, samples = packed >> 44, packed & 0xFFFFFFFFF
    return samples / rate if rate and samples else None


def _of_mp3(data: bytes, limit: float) -> float | None:
    at, seconds = _after_tag(data), 0.0
    while seconds < limit and (at := data.find(b"\xff", at)) >= 0:
        frame = _frame(data[at : at + 4])
        is_whole = frame is not None and at + frame.size_bytes <= len(data)
        seconds += frame.seconds if frame is not None and is_whole else 0.0
        at += frame.size_bytes if frame is not None and is_whole else 1
    return seconds or None


def _after_tag(data: bytes) -> int:
    """Return where the sound begins, after a tag of ID3v2."""
    if not data.startswith(b"ID3") or len(data) < TAG_BYTES:
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(data[6:TAG_BYTES], (21, 14, 7, 0), strict=True))
    return TAG_BYTES + size + (TAG_BYTES if data[5] & FOOTER else 0)


def _frame(head: bytes) -> Frame | None:
    """Return the frame of layer III that begins with ``head``; ``None`` if none does."""
    if len(head) < len("head") or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == RESERVED or layer != LAYER_3 or bitrate in UNKNOWN_BITRATES or rate == UNKNOWN_RATE:
        return None
    samples = 1_152 if version == VERSION_1 else 576
    bits = 1_000 * BITRATES[VERSION_1 if version == VERSION_1 else 2][bitrate - 1]
    hertz = RATES[version][rate]
    return Frame(size_bytes=samples // 8 * bits // hertz + (head[2] >> 1 & 1), seconds=samples / hertz)


READERS: Final[Mapping[str, Callable[[bytes, float], float | None]]] = {
    "wav": _of_wav,
    "flac": _of_flac,
    "mp3": _of_mp3,
}
"""By FFmpeg's names of containers."""
CONTAINERS: Final = frozenset(READERS)

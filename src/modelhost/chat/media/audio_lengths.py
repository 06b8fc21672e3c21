"""How long the sound of a file is, by its headers: nothing is decoded to find out.

WAV: https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html; FLAC: RFC 9639, 8.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from modelhost.exchange.mp3_frames import HEAD_BYTES, after_tag, frame_of

CHUNK_HEAD: Final = 8
MOST_CHUNKS: Final = 1_000
STREAM_INFO: Final = slice(18, 26)
"""Of a FLAC: the sampling rate, in 20 bits, and the number of samples, in the last 36."""


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
    (packed,) = struct.unpack(">Q", data[after_tag(data) :][STREAM_INFO])
    rate, samples = packed >> 44, packed & 0xFFFFFFFFF
    return samples / rate if rate and samples else None


def _of_mp3(data: bytes, limit: float) -> float | None:
    at, seconds = after_tag(data), 0.0
    while seconds < limit and (at := data.find(b"\xff", at)) >= 0:
        frame = frame_of(data[at : at + HEAD_BYTES])
        is_whole = frame is not None and at + frame.size_bytes <= len(data)
        seconds += frame.seconds if frame is not None and is_whole else 0.0
        at += frame.size_bytes if frame is not None and is_whole else 1
    return seconds or None


READERS: Final[Mapping[str, Callable[[bytes, float], float | None]]] = {
    "wav": _of_wav,
    "flac": _of_flac,
    "mp3": _of_mp3,
}
"""By FFmpeg's names of containers."""
CONTAINERS: Final = frozenset(READERS)

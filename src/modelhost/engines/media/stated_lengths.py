"""How much sound a file says that it has, where its header does: what is cut off is noticed by that.

WAV: https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html; FLAC: RFC 9639, 8.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from modelhost.exchange.mp3_frames import after_tag, counted_seconds

SECONDS_LESS: Final = 0.1
"""Decoders hold back, and writers round, less than this."""
CHUNK_HEAD: Final = 8
MOST_CHUNKS: Final = 1_000
STREAM_BYTES: Final = 0x7FFF0000
"""Sizes from here on stand in the headers of streams, whose writers did not know the length: 0x7FFFFFFF or 0xFFFFFFFF,
some less their header."""
WAV: Final = (b"RIFF", b"RF64", b"BW64")
EXTENSIBLE: Final = 0xFFFE
"""The coding of a WAV whose header goes on; there, at ``USED_BITS``, it has how many bits of a sample are used."""
USED_BITS: Final = 18
UNCOMPRESSED: Final = frozenset({1, 3, EXTENSIBLE})
"""Codings of a WAV of which as many bytes are as many seconds: integers, floats, those with more in their header."""
FLAC: Final = b"fLaC"
STREAM_INFO: Final = slice(18, 26)
"""Of a FLAC: the sampling rate, in 20 bits, and the number of samples, in the last 36; 0 in streams."""


def stated_seconds(data: bytes, container: str) -> float | None:
    """Return the length by the header of a WAV in PCM, a FLAC, or an MP3 whose first frame counts the others.

    ``None`` for others, for streams, and if it is damaged.
    """
    try:
        if container == "mp3":
            return counted_seconds(data)
        if container == "wav":
            return _of_wav(data)
        return _of_flac(data) if container == "flac" else None
    except struct.error:  # it ends in the middle of a header
        return None


def with_whole_samples(data: bytes) -> bytes:
    """Return a WAV whose samples have fewer bits than their place, such as 24 of 32, as one whose bits are all used.

    The bits stand at the upper end, so that the sound is the same; FFmpeg looks for other samples in such a file.
    """
    try:
        format_at = next((at for name, at, _ in _chunks(data) if name == b"fmt "), None)
        if format_at is None or not data.startswith(WAV):
            return data
        coding, *_, bits = struct.unpack_from("<HHIIHH", data, format_at)
        (used,) = struct.unpack_from("<H", data, format_at + USED_BITS)
    except struct.error:  # it ends in the middle of a header
        return data
    if coding != EXTENSIBLE or not 0 < used < bits or bits % 8:
        return data
    place = format_at + USED_BITS
    return data[:place] + struct.pack("<H", bits) + data[place + 2 :]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a WAV: their names, where their contents begin, and their sizes; raises struct.error at its end."""
    at = 12
    for _ in range(MOST_CHUNKS):
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, at + CHUNK_HEAD, size
        at += CHUNK_HEAD + size + size % 2


def _of_wav(data: bytes) -> float | None:
    bytes_per_second = 0
    for name, at, size in _chunks(data):
        if name == b"fmt ":
            coding, _channels, rate, _average, frame_bytes = struct.unpack_from("<HHIIH", data, at)
            bytes_per_second = rate * frame_bytes if coding in UNCOMPRESSED else 0
        elif name == b"data":
            return size / bytes_per_second if bytes_per_second and size < STREAM_BYTES else None
    return None


def _of_flac(data: bytes) -> float | None:
    data = data[after_tag(data) :][: STREAM_INFO.stop]
    if not data.startswith(FLAC):
        return None
    (packed,) = struct.unpack(">Q", data[STREAM_INFO])
    rate, samples = packed >> 44, packed & 0xFFFFFFFFF
    return samples / rate if rate and samples else None

"""Files of sound as other programs write them, with noise in them, so that no codec can leave anything out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE = 24_000
CODECS = {
    "mp3": "libmp3lame",
    "webm": "libopus",
    "ogg": "libopus",
    "flac": "flac",
    "aiff": "pcm_s16be",
    "oga": "vorbis",
}
EXPERIMENTAL = {"strict": "experimental"}
PCM = {"caf": "pcm_s16le", "w64": "pcm_s16le", "wav": "pcm_s16le"}


def noise(seconds: float, rate: int = RATE) -> NDArray[np.int16]:
    """Return hiss, the same each time."""
    return (np.random.default_rng(0).standard_normal(int(seconds * rate)) * 3_000).astype("<i2")


def written(
    samples: NDArray[np.int16],
    kind: str,
    path: Path | None = None,
    *,
    layout: str = "mono",
    rate: int = RATE,
    **options: str,
) -> bytes:
    """Return a file of ``kind``, FFmpeg's name of it.

    A program that has a ``path`` can go back to its header at the end; one without writes a stream.
    """
    codec = (CODECS | PCM).get(kind, "aac")
    stream_file = io.BytesIO()
    with av.open(path or _Stream(stream_file), "w", format=kind, options=options) as output:
        stream: Any = output.add_stream(
            codec, rate=48_000 if codec == "libopus" else rate, layout=layout, options=EXPERIMENTAL
        )
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path.read_bytes() if path else stream_file.getvalue()


class _Stream:
    """A file that cannot be gone back in."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)


def with_pauses(data: bytes, kind: str, path: Path, *, seconds: float = 0.5) -> bytes:
    """Return a copy of a file without some of its packets, as of silence that is not stored, or of a bad connection.

    Each pause is as long as the sound between two of them.
    """
    with av.open(io.BytesIO(data), "r") as source, av.open(path, "w", format=kind) as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.pts is not None and int(packet.pts * packet.time_base / seconds) % 2 == 0:
                packet.stream = stream
                output.mux(packet)
    return path.read_bytes()


def tag(size: int) -> bytes:
    """Return a tag of ID3v2, as before a song with its cover, whose bytes look like frames now and then."""
    content = (b"\xff\xfb\x90\x64" + bytes(60)) * (size // 64)
    sizes = bytes(len(content) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + sizes + content

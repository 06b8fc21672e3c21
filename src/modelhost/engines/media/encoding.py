"""Audio in the formats of OpenAI's API, written piece by piece while it is made."""

from __future__ import annotations

from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

PCM_RATE: Final = 24_000
"""Samples a second of ``pcm``, whatever the voice has: there is no header to say it in."""
OPUS_RATE: Final = 48_000
LARGEST: Final = 32_767
MEDIA_TYPES: Final = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_CONTAINERS: Final = {
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("ogg", "libopus"),
    "aac": ("adts", "aac"),
    "flac": ("flac", "flac"),
    "wav": ("wav", "pcm_s16le"),
    "pcm": ("s16le", "pcm_s16le"),
}
"""The container and the codec of each format."""
_OPTIONS: Final = {"opus": {"page_duration": "100000"}}
"""Of the containers: in pages of a tenth of a second, the first audio is not held back for a second."""


class _Sink:
    """Collects what is written; it cannot seek, so that headers are complete from the start."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


class Encoder:
    """Encodes one answer."""

    def __init__(self, audio_format: str, sample_rate: int) -> None:
        container, codec = _CONTAINERS[audio_format]
        rate = {"pcm": PCM_RATE, "opus": OPUS_RATE}.get(audio_format, sample_rate)
        self._sink = _Sink()
        self._sample_rate = sample_rate
        self._output: Any = av.open(self._sink, "w", format=container, options=_OPTIONS.get(audio_format, {}))
        self._stream: Any = self._output.add_stream(codec, rate=rate, layout="mono")

    def add(self, samples: NDArray[np.float32]) -> bytes:
        """Return the bytes that are complete with ``samples``; possibly none."""
        whole = (np.clip(samples, -1.0, 1.0) * LARGEST).astype("<i2")
        if whole.size:
            frame = av.AudioFrame.from_ndarray(whole[np.newaxis], format="s16", layout="mono")
            frame.sample_rate = self._sample_rate
            self._output.mux(self._stream.encode(frame))
        return self._sink.take()

    def end(self) -> bytes:
        """Return the last bytes."""
        self._output.mux(self._stream.encode(None))
        self._output.close()
        return self._sink.take()

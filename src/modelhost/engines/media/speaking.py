"""Sound as workers speak it: encoded, and sent piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from modelhost.engines.media.jobs import Emit, Job
from modelhost.engines.media.refusals import NOTHING_TO_SPEAK
from modelhost.engines.media.starting import LoadedMedia
from modelhost.engines.worker.asgi import ErrorResponse, error_body, read_json

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


PATH: Final = "/v1/audio/speech"
Samples = NDArray[np.float32]
"""Mono, from -1 to 1."""
NOTHING_YET: Final[Samples] = np.zeros(0, np.float32)
"""Taken while audio is being computed, to learn whether to go on."""
Take = Callable[[Samples], bool]
"""Takes audio as it is made, possibly none; returns whether to go on."""


class Speaker(Protocol):
    """A loaded model that speaks."""

    voices: tuple[str, ...]
    sample_rate: int
    version: str

    def speak(self, text: str, *, voice: str, speed: float, seed: int | None, take: Take) -> None:
        """Speak ``text``, sentence by sentence, as long as ``take`` returns true."""
        ...


def loaded_speaker(speaker: Speaker) -> LoadedMedia:
    """Return ``speaker`` as what a worker serves."""
    return LoadedMedia(
        tasks={"speech": (PATH, lambda raw: prepare(speaker, read_json(raw)))},
        version=speaker.version,
        voices=speaker.voices,
    )


def prepare(speaker: Speaker, body: Mapping[str, Any]) -> tuple[Job, str]:
    """Return the job for ``body``, which the host has checked, and the media type of its answer."""
    voice = body.get("voice") or speaker.voices[0]

    def job(emit: Emit) -> None:
        encoder = Encoder(body["response_format"], speaker.sample_rate)
        has_spoken = False

        def take(samples: Samples) -> bool:
            nonlocal has_spoken
            has_spoken = has_spoken or samples.size > 0
            return emit(encoder.add(samples) if samples.size else b"")

        speaker.speak(body["input"], voice=voice, speed=body["speed"], seed=body.get("seed"), take=take)
        if not has_spoken:
            message = "input: the voice knows none of its characters, so there is nothing to speak."
            raise ErrorResponse(400, error_body(400, NOTHING_TO_SPEAK, message, param="input"))
        emit(encoder.end())

    return job, MEDIA_TYPES[body["response_format"]]

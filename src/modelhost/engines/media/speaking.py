"""The job of a worker that speaks: a text becomes audio of the wanted format, sentence by sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from modelhost.engines.media.encoding import MEDIA_TYPES, Encoder
from modelhost.engines.media.jobs import Emit, Job
from modelhost.engines.media.refusals import NOTHING_TO_SPEAK
from modelhost.engines.media.starting import LoadedMedia
from modelhost.engines.worker.asgi import ErrorResponse, error_body, read_json

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

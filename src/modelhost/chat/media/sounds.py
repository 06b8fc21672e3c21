"""Sound in a conversation (``input_audio``), checked before a model gets it."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost.chat.images import media_in
from modelhost.chat.media.audio_lengths import CONTAINERS, seconds_of
from modelhost.errors import InvalidAudio, InvalidRequest, RequestTooLarge, UnsupportedOperation
from modelhost.exchange.audio_files import container_of
from modelhost.exchange.media_kinds import AUDIO
from modelhost.exchange.messages import MediaPart, Message
from modelhost.workers.worker import Worker

FORMATS: Final = "WAV, MP3 and FLAC"
MOST_MINUTES: Final = 60
"""Of all sound in a request together: a model takes some 90,000 tokens for it."""
SECONDS_PER_MINUTE: Final = 60
HOW_TO_HEAR: Final = (
    "Serve a model that was made for sound, with its audio encoder: a GGUF file mmproj*.gguf beside the model, or "
    "--mmproj FILE."
)


class SoundCheck:
    """Checks the sound of a request before each of its turns, and reads each file once."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[MediaPart, float]] = {}
        """Parts that have been read, and their seconds, by the identity of the part, which is kept alive for that."""

    async def check(self, worker: Worker, messages: Sequence[Message]) -> None:
        """Check the sound of a conversation against what the model of ``worker`` accepts.

        If the engine does not report whether its model accepts sound, it is passed on unchecked.

        Raises:
            UnsupportedOperation: the model does not accept sound.
            InvalidRequest: a part is not ``input_audio`` as in OpenAI's API.
            InvalidAudio: a file is empty, damaged or of another format than ``FORMATS``.
            RequestTooLarge: the sound is longer than ``MOST_MINUTES``.
        """
        sounds = [each for each in media_in(messages) if each[1].kind == AUDIO]
        if not sounds or worker.ready.hears_audio is None:
            return
        if not worker.ready.hears_audio:
            param = sounds[0][0]
            message = f"{param}: {worker.model} takes no sound, as it is served. {HOW_TO_HEAR}"
            raise UnsupportedOperation(message, model=worker.model, param=param)
        # In a thread: large files are decoded from base64, and the frames of an MP3 are counted.
        await asyncio.to_thread(self._check, sounds)

    def _check(self, sounds: Sequence[tuple[str, MediaPart]]) -> None:
        limit = MOST_MINUTES * SECONDS_PER_MINUTE
        seconds = 0.0
        for param, part in sounds:
            if id(part) not in self._read:
                self._read[id(part)] = part, audio_seconds(_content(part.extra, param), param, limit=limit)
            seconds += self._read[id(part)][1]
            if seconds > limit:
                raise RequestTooLarge(
                    f"{param}: the sound of a request may be {MOST_MINUTES} minutes long; send less of it.", param=param
                )


def audio_seconds(data: bytes, param: str, *, limit: float) -> float:
    """Return how long a file is that a model hears; from ``limit`` on, it may be longer.

    Raises:
        InvalidAudio: it is empty, damaged or of another format than ``FORMATS``.
    """
    container = container_of(data, param)
    if container not in CONTAINERS:
        raise InvalidAudio(f"{param}: the model hears {FORMATS}, and this is {container}.", param=param)
    seconds = seconds_of(data, container, limit=limit + 1)
    if seconds is None:
        raise InvalidAudio(f"{param}: the file is damaged.", param=param)
    return seconds


def _content(part: Mapping[str, Any], param: str) -> bytes:
    given = part.get(AUDIO)
    data = given.get("data") if isinstance(given, Mapping) else None
    if not isinstance(data, str):
        shape = '{"type": "input_audio", "input_audio": {"data": "...", "format": "wav"}}'
        raise InvalidRequest(f"{param}: it has to be {shape}.", param=param)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{param}: the sound is not in base64.", param=param) from None

"""What a host does with sound and images, which are bytes where other requests and answers are JSON."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from modelhost import lazy
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.audio_files import with_lengths
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.images import FinishedImage
from modelhost.exchange.requests import ImageRequest, SpeechRequest, TranscriptionRequest
from modelhost.exchange.tasks import Task
from modelhost.models.residency.lease import OnQueued
from modelhost.monitor.measure import recorded

if TYPE_CHECKING:
    from modelhost.chat.answering import Answering
    from modelhost.chat.imaging.painting import Painted
    from modelhost.chat.speech import Spoken, Voices
    from modelhost.chat.transcription import Heard
    from modelhost.monitor.monitor import Monitor


OTHER_METHODS: Final[Mapping[Task, str]] = {
    "speech": "speech",
    "transcription": "transcribe",
    "images": "images",
    "image_edits": "images",
}
"""The methods of a host for tasks whose requests or answers are no JSON."""


class MediaMethods(ABC):
    """The part of :class:`~modelhost.host.Host` for sound and images."""

    @property
    @abstractmethod
    def answering(self) -> Answering:
        """What answers requests."""

    @property
    @abstractmethod
    def monitor(self) -> Monitor:
        """What measures them."""

    @abstractmethod
    def model_label(self, name: Any) -> str: ...

    def _named(self, model: str | None) -> str:
        """Return the main name of ``model``; no name does not mean the active model, which may be of another kind."""
        return "" if model is None else self.model_label(model)

    def open_speech(
        self, request: SpeechRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> AbstractAsyncContextManager[Spoken]:
        """Speak a text; see :meth:`modelhost.chat.speech.Speaking.open`."""
        opened = self.answering.speaking.open(request, caller, on_queued)
        return recorded(self.monitor, opened, partial(self._named, request.model))

    def open_transcript(
        self, request: TranscriptionRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> AbstractAsyncContextManager[Heard]:
        """Transcribe sound; see :meth:`modelhost.chat.transcription.Transcribing.open`."""
        opened = self.answering.transcribing.open(request, caller, on_queued)
        return recorded(self.monitor, opened, partial(self._named, request.model))

    def open_images(
        self, request: ImageRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> AbstractAsyncContextManager[Painted]:
        """Make images; see :meth:`modelhost.chat.imaging.painting.Painting.open`."""
        opened = self.answering.painting.open(request, caller, on_queued)
        return recorded(self.monitor, opened, partial(self._named, request.model))

    async def voices(self, model: str | None = None, on_queued: OnQueued | None = None) -> Voices:
        """Return the voices of a model, or of the first one that speaks; raises as :meth:`open_speech` does."""
        return await self.answering.speaking.voices(model, on_queued)

    async def speech(self, text: str, **parameters: Any) -> bytes:
        """Speak ``text``; return an MP3 file, or another ``response_format``. Fields as of ``/v1/audio/speech``."""
        async with aclosing(self.speech_stream(text, **parameters)) as parts:
            return with_lengths(b"".join([part async for part in parts]))

    async def speech_stream(self, text: str, **parameters: Any) -> AsyncGenerator[bytes, None]:
        """Yield the audio of :meth:`speech` as it is made."""
        if parameters.get("stream_format") == "sse":
            raise UnsupportedParameter("stream_format: this returns the audio itself.", param="stream_format")
        request = lazy.chat_parse.parsed("speech", {"input": text, **parameters})
        assert isinstance(request, SpeechRequest)
        async with self.open_speech(request) as spoken:
            async for part in spoken.parts:
                yield part

    async def transcribe(self, file: bytes, **parameters: Any) -> dict[str, Any]:
        """Transcribe a sound file; return its ``text``, ``language``, ``duration`` in seconds and ``segments``.

        ``parameters`` are fields of ``/v1/audio/transcriptions``; with ``timestamp_granularities=["word"]``, the
        segments have ``words``. Raises InvalidRequest if ``file`` is no bytes, or a parameter is wrong.
        """
        if not isinstance(file, bytes):
            raise InvalidRequest("file: give the bytes of a sound file.", param="file")
        if parameters.get("stream"):
            raise UnsupportedParameter("stream: this returns the whole transcript; leave it out.", param="stream")
        if parameters.get("response_format") not in (None, "verbose_json"):
            problem = "response_format: this returns a dictionary; leave it out."
            raise UnsupportedParameter(problem, param="response_format")
        form = lazy.transcription_form.checked_form({"response_format": "verbose_json", **parameters})
        async with self.open_transcript(form.request(file)) as heard:
            return await heard.whole()

    async def images(self, prompt: str, **parameters: Any) -> list[bytes]:
        """Make images of ``prompt``; return a PNG file of each, or another ``format``.

        ``parameters`` are fields of ``/v1/images/generations``, ``size`` also as ``(512, 512)``, and for edits
        ``image`` and ``mask``, bytes of files. Raises InvalidRequest and UnsupportedParameter, and as
        :meth:`open_images` does.
        """
        async with self.open_images(lazy.image_form.keyword_request(prompt, parameters)) as painted:
            finished = [event async for event in painted.events if isinstance(event, FinishedImage)]
        return [base64.b64decode(image.base64) for image in finished]

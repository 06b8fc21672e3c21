"""Answers of chats as audio, in OpenAI's format: ``message.audio``, or ``delta.audio`` in a stream.

A stream has the text as ``transcript`` as it is written, and the audio of each sentence as soon as that is spoken; the
speech model works while the language model goes on. A whole answer is spoken at once, when its text is complete.
Format: https://platform.openai.com/docs/api-reference/chat/object and .../chat-streaming.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from typing import Any, Final
from uuid import uuid4

from msgspec.structs import replace

from modelhost.chat.speech import Speaking, Spoken
from modelhost.chat.spoken.sentences import Sentences
from modelhost.chat.spoken.transcripts import AUDIO, Transcripts
from modelhost.errors import InvalidRequest, ModelNotFound, NothingToSpeak, UnsupportedOperation
from modelhost.exchange.audio_files import with_lengths
from modelhost.exchange.caller import Caller
from modelhost.exchange.events import (
    NO_ENVELOPE,
    Begin,
    Envelope,
    Event,
    Extra,
    Finish,
    Piece,
    Pieces,
    PieceStream,
    Text,
)
from modelhost.exchange.requests import AudioFormat, AudioOutput, ChatRequest, SpeechRequest

Speak = Callable[[str], AbstractAsyncContextManager[Spoken]]
HOW_TO: Final = "Set `chat_speech_model` (--chat-speech-model) to a model that speaks."


class SpeakingAnswers:
    """Answers chats as audio, with the speech model ``model`` of the settings."""

    def __init__(self, speaking: Speaking, model: str | None) -> None:
        self._speaking = speaking
        self._model = model
        self._transcripts = Transcripts()

    def with_transcripts(self, request: ChatRequest) -> ChatRequest:
        """Return ``request`` with transcripts in place of audio; raises as :meth:`Transcripts.filled_in`."""
        return replace(request, messages=self._transcripts.filled_in(request.messages))

    @asynccontextmanager
    async def open(
        self,
        opened: AbstractAsyncContextManager[Pieces],
        wanted: AudioOutput,
        caller: Caller,
        *,
        is_streamed: bool,
    ) -> AsyncIterator[Pieces]:
        """Yield the answer that ``opened`` has as text, with audio in place of the text.

        Raises:
            UnsupportedOperation: there is no speech model.
            InvalidRequest: it does not have the voice.
            ModelhostError: whatever ``opened`` raises, or the speech model while it speaks.
        """
        await self._check(wanted)
        audio_format: AudioFormat = "pcm" if wanted.format == "pcm16" else wanted.format

        def speak(text: str) -> AbstractAsyncContextManager[Spoken]:
            request = SpeechRequest(model=self._model, input=text, voice=wanted.voice, format=audio_format)
            return self._speaking.open(request, caller)

        answer = _SpokenAnswer(speak, self._transcripts, is_streamed=is_streamed)
        tasks = [
            asyncio.create_task(answer.read(opened), name="reading an answer to be spoken"),
            asyncio.create_task(answer.speak_all(), name="speaking an answer"),
        ]
        try:
            await answer.begun
            async with aclosing(answer.pieces(tasks)) as pieces:
                yield pieces
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.exception()  # raised before, or no longer of interest

    async def _check(self, wanted: AudioOutput) -> None:
        """Check that the speech model is there and has the voice, before anything is generated."""
        if self._model is None:
            raise UnsupportedOperation(f"modalities: this host speaks no answers. {HOW_TO}", param="modalities")
        try:
            voices = await self._speaking.voices(self._model)
        except (ModelNotFound, UnsupportedOperation) as error:
            raise UnsupportedOperation(f"modalities: {error.message} {HOW_TO}", param="modalities") from None
        if wanted.voice is not None and wanted.voice not in voices.names:
            known = ", ".join(voices.names)
            raise InvalidRequest(
                f'audio.voice: {voices.model} has no "{wanted.voice}"; there are {known}.', param="audio.voice"
            )


class _SpokenAnswer:
    """One answer: what is read of it, spoken, and passed on."""

    def __init__(self, speak: Speak, transcripts: Transcripts, *, is_streamed: bool) -> None:
        self._speak = speak
        self._transcripts = transcripts
        self._is_streamed = is_streamed
        self._id = f"audio_{uuid4().hex}"
        self._envelope: Envelope = NO_ENVELOPE
        self._sentences = Sentences()
        self._text = ""
        self._audio = bytearray()
        self._last: list[Piece] = []
        """The end of the answer, which comes behind the audio."""
        self._out: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._to_speak: asyncio.Queue[str | None] = asyncio.Queue()
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """When the answer has begun, or with the error why it has not."""

    async def read(self, opened: AbstractAsyncContextManager[Pieces]) -> None:
        """Read the answer to its end. Only then is its model free, as the speech model may need."""
        try:
            async with opened as pieces:
                self.begun.set_result(None)
                async for piece in pieces:
                    self._take(piece)
            self._to_speak.put_nowait(self._sentences.rest() if self._is_streamed else self._text)
            self._to_speak.put_nowait(None)
        except Exception as error:
            if not self.begun.done():
                self.begun.set_exception(error)
            self._out.put_nowait(None)
            raise

    async def speak_all(self) -> None:
        """Speak what has been read, as far as that is complete."""
        try:
            while (text := await self._next_text()) is not None:
                # A sentence of signs only, or in another script: it is in the transcript.
                with suppress(NothingToSpeak):
                    async with self._speak(text) as spoken:
                        async for part in spoken.parts:
                            self._add_audio(part)
        finally:
            self._out.put_nowait(None)

    async def pieces(self, tasks: Sequence[asyncio.Task[None]]) -> PieceStream:
        """Yield the pieces as they come; raises the errors of ``tasks``."""
        while (piece := await self._out.get()) is not None:
            yield piece
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        for piece in self._end():
            yield piece

    def _take(self, piece: Piece) -> None:
        self._envelope = piece[0].envelope
        kept: list[Event] = []
        for event in piece:
            if not isinstance(event, Text):
                kept.append(event)
                continue
            self._text += event.text
            extra = event.extra
            if self._is_streamed:
                for sentence in self._sentences.add(event.text):
                    self._to_speak.put_nowait(sentence)
                extra = _with_audio(extra, {"id": self._id, "transcript": event.text})
            if extra is not None:
                self._out.put_nowait((_delta(event.envelope, extra),))
        if not kept:
            return
        if self._last or any(isinstance(event, Finish) for event in kept):
            self._last.append(tuple(kept))
        else:
            self._out.put_nowait(tuple(kept))

    async def _next_text(self) -> str | None:
        """Return all that can be spoken now, at least a sentence; ``None`` at the end."""
        texts = [await self._to_speak.get()]
        while not self._to_speak.empty():
            texts.append(self._to_speak.get_nowait())
        if texts[-1] is None:
            self._to_speak.put_nowait(None)  # for the next call
        return "".join(filter(None, texts)) or None

    def _add_audio(self, part: bytes) -> None:
        if self._is_streamed:
            data = base64.b64encode(part).decode()
            self._out.put_nowait((_delta(self._envelope, _with_audio(None, {"id": self._id, "data": data})),))
        else:
            self._audio += part

    def _end(self) -> list[Piece]:
        if not self._text:
            return self._last
        if not (self._audio or self._is_streamed):  # there was nothing to speak in it
            return [(Text(envelope=self._envelope, text=self._text),), *self._last]
        expires_at = self._transcripts.add(self._id, self._text)
        audio: dict[str, Any] = {"id": self._id, "expires_at": expires_at}
        if not self._is_streamed:
            data = base64.b64encode(with_lengths(bytes(self._audio))).decode()
            audio |= {"data": data, "transcript": self._text}
        return [(_delta(self._envelope, _with_audio(None, audio)),), *self._last]


def _delta(envelope: Envelope, extra: Extra) -> Event:
    return Begin(envelope=envelope, role=None, extra=extra)


def _with_audio(extra: Extra | None, audio: dict[str, Any]) -> Extra:
    known = Extra() if extra is None else extra
    return replace(known, delta={**known.delta, AUDIO: audio})

"""Transcribes sound, with the models that hear."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from modelhost import json_text
from modelhost.chat.media import hearing as hear
from modelhost.chat.media.jobs import answered_job
from modelhost.chat.speech import capable_model
from modelhost.errors import EngineError
from modelhost.exchange.audio_files import check_may_be_sound
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.payloads import Raw
from modelhost.exchange.requests import ChatRequest, TranscriptionRequest
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.lease import OnQueued
from modelhost.workers.answer_events import decoded_events
from modelhost.workers.call_depth import CALL_DEPTH
from modelhost.workers.wire import EventBlocks

Segment = Mapping[str, Any]
"""A segment as OpenAI's API has it, with its ``words``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A transcript that is being made."""

    model: str
    seconds: float
    """The length of the sound."""
    language: str
    segments: AsyncGenerator[Segment, None]

    async def whole(self) -> dict[str, Any]:
        """Return the whole transcript: ``text``, ``language``, ``duration`` and ``segments``; raises as they do."""
        segments = [segment async for segment in self.segments]
        text = "".join(segment["text"] for segment in segments).strip()
        return {"text": text, "language": self.language, "duration": self.seconds, "segments": segments}


Answer = Callable[[ChatRequest, Caller, OnQueued | None], Awaitable[WholeAnswer]]
"""Answers a chat completely."""


class Transcribing:
    """Answers requests for transcripts with the models of a host: those made for it, and chat models that hear.

    ``answer`` is how a chat model writes one down.
    """

    def __init__(self, collection: Callable[[], ModelCollection], answer: Answer) -> None:
        self._collection = collection
        self._answer = answer

    def open(
        self, request: TranscriptionRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> AbstractAsyncContextManager[Heard]:
        """Transcribe the file of ``request``; leaving the context ends the work within a window of 30 seconds.

        Raises:
            InvalidAudio: the file is empty, damaged, without sound or of an unknown format.
            RequestTooLarge: the sound is too long.
            UnsupportedOperation: the model does not transcribe.
            ModelhostError: before the first segment, or in the middle.
        """
        check_may_be_sound(request.file)
        return self._opened(request, caller, on_queued)

    @asynccontextmanager
    async def _opened(
        self, request: TranscriptionRequest, caller: Caller, on_queued: OnQueued | None
    ) -> AsyncIterator[Heard]:
        CALL_DEPTH.set(caller.depth)
        if (hearing := await self._chat_model(request.model)) is not None:
            seconds = hear.checked_seconds(request)
            language = request.language or hear.UNDETERMINED
            async with aclosing(self._written_down(request, hearing, seconds, caller, on_queued)) as segments:
                yield Heard(model=hearing.name, seconds=seconds, language=language, segments=segments)
            return
        model = await capable_model(self._collection(), "transcription", request.model)
        payload = Raw(content_type="application/octet-stream", data=_job(request))
        async with answered_job(self._collection(), model, "transcription", payload, on_queued) as (worker, answer):
            name = worker.process.name
            async with aclosing(decoded_events(EventBlocks(answer), model=model.name, worker=name)) as events:
                info = await anext(events, None)
                if info is None or info["event"] != "info":
                    raise _no_transcript(model.name, name)
                seconds = info["duration"]
                async with aclosing(_segments(events, seconds, model.name, name)) as segments:
                    yield Heard(model=model.name, seconds=seconds, language=info["language"], segments=segments)

    async def _chat_model(self, name: str | None) -> HostedModel | None:
        """Return the chat model that transcribes: the one called ``name``, or one if no model was made for it."""
        asked = self._collection().models if name is None else [self._collection().find(name)]
        if not any(model.can_do("transcription") for model in asked):
            await self._collection().refresh_previews(is_patient=True)
        if any(model.can_do("transcription") for model in asked):
            return None
        return next((model for model in asked if model.may_hear), None)

    async def _written_down(
        self,
        request: TranscriptionRequest,
        model: HostedModel,
        seconds: float,
        caller: Caller,
        on_queued: OnQueued | None,
    ) -> AsyncGenerator[Segment, None]:
        answer = await self._answer(hear.transcription_chat(request, model.name), caller, on_queued)
        yield hear.whole_segment(answer.choice().text or "", seconds, request.temperature)


def _job(request: TranscriptionRequest) -> bytes:
    """Return what the worker gets: a line of JSON, and the file."""
    fields = {
        "language": request.language,
        "prompt": request.prompt,
        "temperature": request.temperature,
        "translates": request.is_translation,
        "word_timestamps": request.word_timestamps,
        "vad": request.vad,
    }
    return json_text.encode(fields) + b"\n" + request.file


async def _segments(
    events: AsyncGenerator[Mapping[str, Any], None], seconds: float, model: str, worker: str
) -> AsyncGenerator[Segment, None]:
    async for event in events:
        if event["event"] == "done":
            return
        yield within({name: value for name, value in event.items() if name != "event"}, seconds)
    raise _no_transcript(model, worker)


def within(segment: Segment, seconds: float) -> Segment:
    """Return ``segment`` with times in milliseconds, none beyond ``seconds``: models hear windows, not ends."""
    words = [{**word, **_times(word, seconds)} for word in segment.get("words") or ()]
    return {**segment, **_times(segment, seconds), **({"words": words} if words else {})}


def _times(part: Mapping[str, Any], seconds: float) -> dict[str, float]:
    return {name: round(min(part[name], seconds), 3) for name in ("start", "end")}


def _no_transcript(model: str, worker: str) -> EngineError:
    return EngineError(f"The engine of {model} answered without a whole transcript.", model=model, worker=worker)

"""Transcription by models that converse and take sound, such as Qwen2-Audio and Voxtral on llama.cpp: a chat with the
file and a prompt. Such a model says neither when a word is spoken nor in which language."""

from __future__ import annotations

import base64
from typing import Any, Final

from modelhost.chat.media.sounds import MOST_MINUTES, SECONDS_PER_MINUTE, audio_seconds
from modelhost.errors import RequestTooLarge, UnsupportedParameter
from modelhost.exchange.media_kinds import AUDIO
from modelhost.exchange.messages import MediaPart, Message, TextPart
from modelhost.exchange.requests import ChatRequest, Sampling, TranscriptionRequest

UNDETERMINED: Final = "und"
"""The language of a transcript whose model does not say it, as in BCP 47."""
TRANSCRIBE: Final = "Transcribe this audio. Write only the words that are spoken."
TRANSLATE: Final = "Translate what is said in this audio into English. Write only the translation."


def checked_seconds(request: TranscriptionRequest) -> float:
    """Return how long the file of ``request`` is.

    Raises:
        InvalidAudio: it is empty, damaged, or of a format that such models do not take.
        RequestTooLarge: it is too long.
        UnsupportedParameter: the request wants what such models cannot do.
    """
    if request.word_timestamps:
        raise _unsupported("timestamp_granularities", "it does not say when a word is spoken")
    if request.vad:
        raise _unsupported("chunking_strategy", "silence is not left out for it")
    limit = MOST_MINUTES * SECONDS_PER_MINUTE
    seconds = audio_seconds(request.file, "file", limit=limit)
    if seconds > limit:
        raise RequestTooLarge(f"file: it is longer than {MOST_MINUTES} minutes; send it in parts.", param="file")
    return seconds


def _unsupported(param: str, reason: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"{param}: this model transcribes by conversing; {reason}.", param=param)


def transcription_chat(request: TranscriptionRequest, model: str) -> ChatRequest:
    """Return the chat in which ``model`` writes down the file of ``request``."""
    words = [TRANSLATE if request.is_translation else TRANSCRIBE]
    if request.language is not None:
        words.append(f"The language is {request.language}.")
    if request.prompt:
        words.append(f"It may contain: {request.prompt}")
    sound = {"data": base64.b64encode(request.file).decode(), "format": "wav"}  # engines go by the first bytes
    content = (MediaPart(AUDIO, {AUDIO: sound}, "file"), TextPart(" ".join(words)))
    return ChatRequest(
        model=model,
        messages=(Message(role="user", content=content),),
        sampling=Sampling(temperature=request.temperature),
        tools=(),
    )


def whole_segment(text: str, seconds: float, temperature: float) -> dict[str, Any]:
    """Return a transcript as one segment of OpenAI's API."""
    return {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": round(seconds, 3),
        "text": text.strip(),
        "tokens": [],
        "temperature": temperature,
        "avg_logprob": 0.0,
        "compression_ratio": 0.0,
        "no_speech_prob": 0.0,
        "words": [],
    }

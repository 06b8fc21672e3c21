"""Speech and transcription as tools: the parameters and the results of ``speak`` and ``transcribe``."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, Field

from modelhost.operations.operation import Parameters, Result

SPEAK: Final = "speak"
TRANSCRIBE: Final = "transcribe"
"""The names of the tools; over HTTP they are OpenAI's endpoints."""
MEDIA_TYPES: Final = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
}


def _model(task: str) -> Any:
    return Annotated[
        str | None,
        Field(
            min_length=1,
            description=f"A model that {task}: its name or an alias. Default: the first that does.",
            validation_alias=AliasChoices("model", "model_id"),
        ),
    ]


class SpeakParameters(Parameters):
    """A text to speak."""

    input: str = Field(min_length=1, description="The text to speak.", validation_alias=AliasChoices("input", "text"))
    voice: str | None = Field(
        default=None, min_length=1, description="A voice of the model. Default: its first; the error names them all."
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav"] = Field(
        default="mp3",
        description="The format of the audio. Default: mp3.",
        validation_alias=AliasChoices("response_format", "format"),
    )
    speed: float | None = Field(default=None, ge=0.25, le=4, description="1 is the voice's own speed.")
    model: _model("speaks") = None  # type: ignore[valid-type]


class SpokenResult(Result):
    """What was spoken; the audio itself is content of the result."""

    model: str
    mime_type: str
    size_bytes: int


class _TranscribeOptions(Parameters):
    language: str | None = Field(default=None, description="The language as a code, such as `en`. Default: recognized.")
    prompt: str | None = Field(default=None, description="A text before the sound, for names and style.")
    model: _model("transcribes") = None  # type: ignore[valid-type]


class TranscribeParameters(_TranscribeOptions):
    """Sound to transcribe."""

    file: str = Field(min_length=1, description="The sound file, such as MP3 or WAV, in base64 or as a data URL.")


class TranscribeFileParameters(_TranscribeOptions):
    """Sound to transcribe, also in a file of this machine."""

    path: str | None = Field(
        default=None, min_length=1, description="The path of a sound file on this machine, such as MP3 or WAV."
    )
    file: str | None = Field(
        default=None, min_length=1, description="Instead of `path`: the sound file in base64 or as a data URL."
    )


class SpokenSegment(Result):
    """A part of the sound; times are seconds."""

    start: float
    end: float
    text: str


class TranscribeResult(Result):
    """A transcript."""

    text: str
    model: str
    language: str | None = Field(description="A code, given or recognized.")
    duration: float = Field(description="The length of the sound, in seconds.")
    segments: list[SpokenSegment]

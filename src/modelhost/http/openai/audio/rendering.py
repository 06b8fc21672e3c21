"""A transcript in the formats of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:  # the command line renders transcripts without the host's side of the package
    from modelhost.chat.transcription import Heard, Segment

TranscriptFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
MEDIA_TYPES: Final = {
    "text": b"text/plain; charset=utf-8",
    "srt": b"application/x-subrip; charset=utf-8",
    "vtt": b"text/vtt; charset=utf-8",
}
MILLISECONDS: Final = 1000


def text_of(segments: Sequence[Segment]) -> str:
    return "".join(segment["text"] for segment in segments).strip()


def usage_of(heard: Heard) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(heard.seconds, 3)}


def whole_json(heard: Heard, segments: Sequence[Segment]) -> dict[str, Any]:
    return {"text": text_of(segments), "usage": usage_of(heard)}


def verbose_json(
    heard: Heard, segments: Sequence[Segment], *, task: str, granularities: frozenset[str]
) -> dict[str, Any]:
    words = [{**word, "word": word["word"].strip()} for segment in segments for word in segment["words"]]
    plain = [{name: value for name, value in segment.items() if name != "words"} for segment in segments]
    return {
        "task": task,
        "language": heard.language,
        "duration": round(heard.seconds, 3),
        "text": text_of(segments),
        **({"segments": plain} if "segment" in granularities else {}),
        **({"words": words} if "word" in granularities else {}),
        "usage": usage_of(heard),
    }


def rendered_text(form: TranscriptFormat, segments: Sequence[Segment]) -> str:
    """Return the answer as ``text``, ``srt`` or ``vtt``."""
    if form == "text":
        return f"{text_of(segments)}\n"
    if form == "srt":
        return "".join(
            f"{number}\n{_time(each['start'], ',')} --> {_time(each['end'], ',')}\n{each['text'].strip()}\n\n"
            for number, each in enumerate(segments, 1)
        )
    cues = (
        f"{_time(each['start'], '.')} --> {_time(each['end'], '.')}\n{each['text'].strip()}\n\n" for each in segments
    )
    return f"WEBVTT\n\n{''.join(cues)}"


def _time(seconds: float, mark: str) -> str:
    """Return a time of a subtitle: ``00:01:02,345``."""
    whole, milliseconds = divmod(round(seconds * MILLISECONDS), MILLISECONDS)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}{mark}{milliseconds:03}"

"""What becomes of each field of requests for sound and images, by path. Where an effect has no note, the description of
the field says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelhost.http.effects import Effect, engine, host, no_effect
from modelhost.http.openai.audio.paths import SPEECH, TRANSCRIPTIONS, TRANSLATIONS
from modelhost.http.openai.images.paths import EDITS, GENERATIONS

_NOTED: Final = no_effect("Values other than `auto` and `standard` are named in the header `x-modelhost-notes`")
_USER: Final = no_effect()
_TRANSCRIPTION: Final[Mapping[str, Effect]] = {
    "file": engine(
        "WAV, MP3, AAC, Ogg (Opus, Vorbis), FLAC, WebM, Matroska, M4A or MP4, by its first bytes. Its greatest "
        "length is the engine option `max_minutes`"
    ),
    "model": host("A model that transcribes. Default: the active model if it does, else the first that does"),
    "language": engine(),
    "prompt": engine(
        "A text before the sound, for names and style; one that is longer than the model takes is refused"
    ),
    "response_format": host("`srt` and `vtt`: subtitles; `verbose_json`: with segments"),
    "temperature": engine(),
    "timestamp_granularities": engine(),
    "stream": host("Events, one a segment; with `json` or `text`"),
    "chunking_strategy": engine(),
    "user": _USER,
}
_IMAGES: Final[Mapping[str, Effect]] = {
    "prompt": engine("A prompt that is longer than the model reads is refused, never cut"),
    "model": host("A model that makes images. Default: the active model if it does, else the first that does"),
    "n": engine("Images, made one after the other. Default: 1"),
    "size": engine(
        "`WIDTHxHEIGHT`, or `auto` (default): the model's own, or that of the image to edit. Sides are multiples of 8, "
        "of 16 for some models, from 64 on, with no more pixels than the engine option `max_pixels`"
    ),
    "response_format": host("Default: `b64_json`. `url`: signed, valid for an hour; not with `stream`"),
    "output_format": engine("Default: `png`"),
    "output_compression": engine("The quality of `jpeg` and `webp`"),
    "background": host("`transparent` is refused: these models make opaque images"),
    "stream": host("Events with the images"),
    "partial_images": engine(),
    "progress": host("Extension. For `stream`: an event before the first step of an image and after each one"),
    "seed": engine("Extension. The same seed gives the same images. Default: random; the answer names it"),
    "negative_prompt": engine("Extension. What the image is not to show; refused for models that follow none"),
    "steps": engine(
        "Extension. At most the engine option `max_steps`. Default: the engine option `steps`, else the pipeline's own"
    ),
    "guidance": engine(
        "Extension. How closely the image follows the prompt. Default: the engine option `guidance`, else the "
        "pipeline's own"
    ),
    "quality": _NOTED,
    "style": _NOTED,
    "moderation": _NOTED,
    "user": _USER,
}
_IMAGE: Final = engine(
    "The PNG, JPEG or WebP to edit, of no more pixels than the engine option `max_pixels`; in a form a file, also as "
    "`image[]`; in JSON base64, a data URL, or an object with either in `image_url`"
)

EFFECTS: Final[Mapping[str, Mapping[str, Effect]]] = {
    SPEECH: {
        "model": host("A model that speaks. Default: the active model if it does, else the first that does"),
        "input": engine("The text; refused if it has neither letters nor digits, or is longer than the model speaks"),
        "voice": engine(),
        "response_format": engine(),
        "speed": engine("Default: 1; refused by models that have no speed"),
        "seed": engine("The same seed gives the same audio; refused by models that have none. Default: random"),
        "stream_format": host(),
        "user": _USER,
    },
    TRANSCRIPTIONS: _TRANSCRIPTION,
    TRANSLATIONS: _TRANSCRIPTION,
    GENERATIONS: _IMAGES,
    EDITS: {
        "image": _IMAGE,
        "images": engine("In JSON, in place of `image`: a list with one"),
        "mask": engine(
            "As `image`, of the same size. What is transparent in it is painted anew; without transparency, what is "
            "white"
        ),
        **_IMAGES,
        "strength": engine("Extension. How much of the image is painted anew: that share of the steps. Default: 0.8"),
        "input_fidelity": _NOTED,
    },
}

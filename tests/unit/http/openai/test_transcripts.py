"""Transcripts in the formats of OpenAI's API, and what is known of a file by its first bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from modelhost.chat.parsing.transcription_form import parsed_form
from modelhost.chat.transcription import Heard, Segment
from modelhost.errors import InvalidAudio, InvalidRequest, UnsupportedParameter
from modelhost.exchange.audio_files import check_may_be_sound, container_of
from modelhost.http.openai.audio.rendering import rendered_text, verbose_json, whole_json

SEGMENTS: list[Segment] = [
    {"id": 0, "start": 0.0, "end": 1.5, "text": " One.", "words": [{"word": " One.", "start": 0.0, "end": 1.0}]},
    {"id": 1, "start": 3661.9996, "end": 3662.25, "text": " Two.", "words": []},
]


async def none() -> AsyncGenerator[Segment, None]:
    return
    yield {}


def heard() -> Heard:
    return Heard(model="w", seconds=3662.25, language="en", segments=none())


def test_as_json_there_is_the_text_and_the_length() -> None:
    usage = {"type": "duration", "seconds": 3662.25}
    assert whole_json(heard(), SEGMENTS) == {"text": "One. Two.", "usage": usage}


def test_as_subtitles_each_segment_has_its_times() -> None:
    assert rendered_text("text", SEGMENTS) == "One. Two.\n"
    srt = "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n2\n01:01:02,000 --> 01:01:02,250\nTwo.\n\n"
    assert rendered_text("srt", SEGMENTS) == srt
    vtt = "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne.\n\n01:01:02.000 --> 01:01:02.250\nTwo.\n\n"
    assert rendered_text("vtt", SEGMENTS) == vtt


@pytest.mark.parametrize("granularities", [{"segment"}, {"word"}, {"segment", "word"}])
def test_verbose_json_has_the_times_that_are_wanted(granularities: set[str]) -> None:
    found = verbose_json(heard(), SEGMENTS, task="transcribe", granularities=frozenset(granularities))
    assert (found["task"], found["language"], found["duration"]) == ("transcribe", "en", 3662.25)
    assert ("segments" in found, "words" in found) == ("segment" in granularities, "word" in granularities)
    assert found.get("words", [{"word": "One.", "start": 0.0, "end": 1.0}]) == [
        {"word": "One.", "start": 0.0, "end": 1.0}
    ]
    assert all("words" not in segment for segment in found.get("segments", ()))


@pytest.mark.parametrize(
    ("data", "container"),
    [
        (b"RIFF\0\0\0\0WAVE", "wav"),
        (b"ID3" + bytes(7), "mp3"),
        (b"ID3" + bytes(7) + b"\xff\xf1P", "aac"),
        (b"ID3" + bytes(6) + b"\2ab" + b"fLaC", "flac"),
        (b"\xff\xfb\x90", "mp3"),
        (b"\xff\xf1P", "aac"),
        (b"OggS", "ogg"),
        (b"fLaC", "flac"),
        (b"\x1a\x45\xdf\xa3", "matroska"),
        (b"\0\0\0\x20ftypM4A ", "mov"),
    ],
)
def test_a_container_is_known_by_its_first_bytes(data: bytes, container: str) -> None:
    assert container_of(data) == container


@pytest.mark.parametrize(
    "data",
    [b"\0" * 100 + b"\xff\xfb\x90", b"APETAGEX", b"ID3" + bytes(7), b"FORM\0\0\0\0AIFF", b"\0\0\0\x08wide", b"#!AMR\n"],
)
def test_what_a_decoder_may_read_is_given_to_one(data: bytes) -> None:
    check_may_be_sound(data)


@pytest.mark.parametrize("data", [b"", b"#EXTM3U\nhttp://x/", b"RIFF\0\0\0\0AVI ", b"%PDF", b"ffconcat version 1.0"])
def test_anything_else_is_refused(data: bytes) -> None:
    for check in (container_of, check_may_be_sound):
        with pytest.raises(InvalidAudio):
            check(data)


def test_a_form_has_texts() -> None:
    form = parsed_form({"temperature": ["0.5"], "stream": ["True"], "timestamp_granularities[]": ["segment"]})
    assert (form.temperature, form.stream, form.timestamp_granularities) == (0.5, True, ["segment"])
    assert parsed_form({}).response_format == "json"
    assert parsed_form({"language": ["en\n"]}).language == "en"


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"colour": ["red"]}, UnsupportedParameter, "colour"),
        ({"include[]": ["logprobs"]}, UnsupportedParameter, "include[]"),
        ({"model": ["a", "b"]}, InvalidRequest, "model"),
        ({"temperature": ["0_1"]}, InvalidRequest, "temperature"),
        ({"temperature": ["warm"]}, InvalidRequest, "temperature"),
        ({"language": ["English"]}, InvalidRequest, "language"),
        ({"response_format": ["diarized_json"]}, InvalidRequest, "response_format"),
        ({"stream": ["true"], "response_format": ["srt"]}, InvalidRequest, "response_format"),
        ({"timestamp_granularities[]": ["word"]}, InvalidRequest, "timestamp_granularities"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_form_is_named(fields: dict[str, list[str]], error: Any, param: str) -> None:
    with pytest.raises(error) as caught:
        parsed_form(fields)
    assert caught.value.param == param


@pytest.mark.parametrize("language", ["EN", "en-US", "english", ""])
def test_a_language_is_refused_with_what_to_send(language: str) -> None:
    with pytest.raises(InvalidRequest, match=r'language: it has to be a code .* such as "en"'):
        parsed_form({"language": [language]})

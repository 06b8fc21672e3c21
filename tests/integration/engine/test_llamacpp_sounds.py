"""Sound that really reaches a model: nano on llama.cpp with audio encoders of random weights.

What it hears is noise. That it listens is told by the tokens of its prompt, of which 30 seconds take ``AUDIO_TOKENS``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelhost.models.files.media_encoder import read_media_encoder
from tests.support.media_files import (
    AUDIO_TOKENS,
    IMAGE_TOKENS,
    png_url,
    wav,
    write_audio_encoder,
    write_both_encoders,
    write_vision_encoder,
)
from tests.support.nano_engine import running
from tests.support.serving import ServedHost
from tests.support.session_talk import post, refusal

NANO_WIDTH = 192
NAME = "modelhost-nano"
TEXT = {"type": "text", "text": "What do you hear?"}
IMAGE = {"type": "image_url", "image_url": {"url": png_url()}}
TRANSCRIPTIONS = "/v1/audio/transcriptions"
ANTHROPIC = {"anthropic-version": "2023-06-01"}


def sound(data: bytes, form: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": form}}


def asked(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [TEXT, *parts]}]


def tokens(host: ServedHost, *parts: dict[str, Any], **fields: Any) -> int:
    answer = post(host, asked(*parts), max_tokens=2, tools=[], **fields)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["prompt_tokens"])


def transcribe(host: ServedHost, data: bytes, **fields: Any) -> httpx2.Response:
    return host.http.post(TRANSCRIPTIONS, files={"file": ("a.wav", data, "audio/wav")}, data=fields)


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    encoder = write_audio_encoder(tmp_path_factory.mktemp("ears") / "mmproj-nano.gguf", model_width=NANO_WIDTH)
    with ServedHost(mmproj=str(encoder), context_length=4096, slots=2) as started:
        yield started


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    encoder = write_both_encoders(tmp_path_factory.mktemp("both") / "mmproj-nano.gguf", model_width=NANO_WIDTH)
    with ServedHost(mmproj=str(encoder), context_length=4096) as started:
        yield started


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    encoder = write_vision_encoder(tmp_path_factory.mktemp("eyes") / "mmproj-nano.gguf", model_width=NANO_WIDTH)
    with ServedHost(mmproj=str(encoder)) as started:
        yield started


def senses(host: ServedHost) -> tuple[Any, Any]:
    (card,) = host.http.get("/v1/models").json()["data"]
    return card["sees_images"], card["hears_audio"]


def test_models_tell_what_they_take(
    hearing: ServedHost, seeing: ServedHost, both: ServedHost, nano_host: ServedHost
) -> None:
    found = [senses(host) for host in (hearing, seeing, both, nano_host)]
    assert found == [(False, True), (True, False), (True, True), (False, False)]


def test_every_sound_of_a_request_is_in_the_prompt(hearing: ServedHost) -> None:
    without, one = tokens(hearing), tokens(hearing, sound(wav(1)))
    frame = one - without - AUDIO_TOKENS
    assert 0 < frame < 30  # what the projector puts around it
    assert tokens(hearing, sound(wav(1)), sound(wav(2))) == one + AUDIO_TOKENS + frame
    assert tokens(hearing, sound(wav(31))) == one + AUDIO_TOKENS


def test_images_and_sound_go_together_where_the_encoder_takes_both(both: ServedHost) -> None:
    one = tokens(both, sound(wav(1)))
    assert tokens(both, sound(wav(1)), IMAGE, IMAGE) == one + 2 * IMAGE_TOKENS


def test_streams_and_other_doors_hear(hearing: ServedHost) -> None:
    body = {"messages": asked(sound(wav(1))), "max_tokens": 2, "stream": True}
    body["stream_options"] = {"include_usage": True}
    text = hearing.http.post("/v1/chat/completions", json=body).text
    found = re.findall(r'"prompt_tokens":(\d+)', text)
    assert int(found[-1]) == tokens(hearing, sound(wav(1)))


def test_counts_of_tokens_have_those_of_media(both: ServedHost) -> None:
    messages = asked(sound(wav(1)), IMAGE)
    counted = both.http.post("/tokenize", json={"messages": messages})
    assert counted.status_code == 200, counted.text
    assert counted.json()["count"] == tokens(both, sound(wav(1)), IMAGE)
    source = {"type": "base64", "media_type": "image/png", "data": png_url().partition(",")[2]}
    content = [TEXT, {"type": "image", "source": source}]
    path, body = "/v1/messages/count_tokens", {"messages": [{"role": "user", "content": content}], "model": NAME}
    count = both.http.post(path, json=body, headers=ANTHROPIC).json()
    assert count == {"input_tokens": tokens(both, IMAGE)}


def test_media_that_are_not_taken_or_not_counted_are_refused_by_tokenize(
    nano_host: ServedHost, scripted_host: ServedHost
) -> None:
    for part in (IMAGE, sound(wav(1))):
        body = {"messages": asked(part)}
        assert refusal(nano_host.http.post("/tokenize", json=body)) == (400, "unsupported_operation")
        answer = scripted_host.http.post("/tokenize", json=body)
        assert refusal(answer) == (400, "invalid_request")
        assert "only text can be tokenized" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("part", "code", "words"),
    [
        (sound(wav(1)[:30]), "invalid_audio", "damaged"),
        (sound(b"RIFF\0\0\0\0WAVE" + bytes(100)), "invalid_audio", "damaged"),
        (sound(b"\xff\xfb\x90\0" + bytes(3), "mp3"), "invalid_audio", "damaged"),
        (sound(b""), "invalid_audio", "empty"),
        (sound(b"OggS" + bytes(100)), "invalid_audio", "WAV, MP3 and FLAC"),
        (sound(b"#!/bin/sh\n"), "invalid_audio", "its format is unknown"),
        ({"type": "input_audio", "input_audio": {"data": "!!!!", "format": "wav"}}, "invalid_request", "base64"),
        ({"type": "input_audio", "input_audio": "AAAA"}, "invalid_request", "it has to be"),
        ({"type": "input_audio"}, "invalid_request", "it has to be"),
        (IMAGE, "unsupported_operation", "takes no images"),
    ],
)
def test_a_sound_that_cannot_be_heard_is_the_callers_fault_and_the_worker_lives(
    hearing: ServedHost, part: dict[str, Any], code: str, words: str
) -> None:
    before = hearing.http.get("/v1/models/modelhost-nano/info").json()
    for stream in (False, True):
        answer = post(hearing, asked(part), stream=stream)
        assert refusal(answer) == (400, code)
        assert words in answer.json()["error"]["message"]
    after = hearing.http.get("/v1/models/modelhost-nano/info").json()
    assert (after["state"], after["last_error"]) == (before["state"], None)


def test_sound_that_is_too_long_is_refused_before_it_is_decoded(hearing: ServedHost) -> None:
    hour = wav(1, rate=1000)[:44] + bytes(2 * 1000 * 3601)
    hour = hour[:40] + (2 * 1000 * 3601).to_bytes(4, "little") + hour[44:]
    answer = post(hearing, asked(sound(hour)))
    assert refusal(answer) == (413, "request_too_large")
    assert "60 minutes" in answer.json()["error"]["message"]
    assert refusal(transcribe(hearing, hour)) == (413, "request_too_large")


def test_sound_beyond_the_context_is_refused_as_a_text_is(hearing: ServedHost) -> None:
    answer = post(hearing, asked(sound(wav(180))), tools=[])
    assert refusal(answer) == (400, "context_length_exceeded")


def test_a_model_that_does_not_hear_says_how_one_is_served_that_does(nano_host: ServedHost, seeing: ServedHost) -> None:
    for host in (nano_host, seeing):
        answer = post(host, asked(sound(wav(1))))
        assert refusal(answer) == (400, "unsupported_operation")
        assert "--mmproj FILE" in answer.json()["error"]["message"]


def test_a_model_that_hears_transcribes(hearing: ServedHost) -> None:
    answer = transcribe(hearing, wav(2), response_format="verbose_json", language="en", temperature="0")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    (segment,) = found["segments"]
    assert (found["duration"], found["language"], segment["start"], segment["end"]) == (2.0, "en", 0.0, 2.0)
    assert found["text"] == segment["text"] != ""
    assert transcribe(hearing, wav(2)).json()["usage"] == {"type": "duration", "seconds": 2.0}
    stream = transcribe(hearing, wav(2), stream="true", model=NAME).text
    assert stream.count("transcript.text.delta") == 1
    assert '"language":"und"' in stream


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "verbose_json", "timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"chunking_strategy": "auto"}, "chunking_strategy"),
    ],
)
def test_what_such_a_model_cannot_do_is_refused(hearing: ServedHost, fields: dict[str, Any], param: str) -> None:
    answer = transcribe(hearing, wav(1), **fields)
    assert refusal(answer) == (400, "unsupported_parameter")
    assert answer.json()["error"]["param"] == param


def test_a_model_that_only_sees_does_not_transcribe(seeing: ServedHost, nano_host: ServedHost) -> None:
    for host in (seeing, nano_host):
        assert refusal(transcribe(host, wav(1), model=NAME)) == (400, "unsupported_operation")


async def test_the_estimate_covers_what_the_encoder_adds(tmp_path: Path) -> None:
    large = write_audio_encoder(tmp_path / "mmproj.gguf", model_width=NANO_WIDTH, width=384)
    words = [{"type": "text", "text": "word " * 300}]
    without = await _peak_bytes(words)
    added = await _peak_bytes([*words, sound(wav(29))], mmproj=str(large)) - without
    estimate = read_media_encoder(large).need_bytes
    assert added <= estimate <= added * 1.3 + 10_000_000


async def _peak_bytes(parts: list[dict[str, Any]], **settings: Any) -> int:
    async with running(**settings, slots=1) as engine:
        await engine.answer([{"role": "user", "content": parts}], max_tokens=2)
        return _peak_of(engine.worker.process.pid)


def _peak_of(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024

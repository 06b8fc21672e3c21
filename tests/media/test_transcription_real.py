"""Transcription with real weights: Whisper base, of what the voice hibari says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.serving import ServedHost

TEXT = "Hello there. The weather is nice today, and the train leaves at noon."


@pytest.fixture(scope="module")
def said(speaker: ServedHost) -> bytes:
    body = {"input": TEXT, "response_format": "opus", "seed": 1}
    return speaker.http.post("/v1/audio/speech", json=body).content


@pytest.fixture(scope="module")
def listener(python: str, whisper: Path) -> Iterator[ServedHost]:
    with ServedHost(
        model=str(whisper), alias=["whisper-1"], worker_python=python, engine_options={"max_minutes": 1}
    ) as host:
        yield host


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def test_the_words_come_back(listener: ServedHost, said: bytes) -> None:
    transcriptions = listener.client().audio.transcriptions
    assert words(transcriptions.create(model="whisper-1", file=said, language="en").text) == words(TEXT)
    verbose = transcriptions.create(
        model="whisper-1", file=said, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert verbose.language == "en"
    assert words(" ".join(word.word for word in verbose.words or ())) == words(TEXT)
    with transcriptions.create(model="whisper-1", file=said, stream=True, chunking_strategy="auto") as stream:
        text = "".join(event.delta for event in stream if event.type == "transcript.text.delta")
    assert words(text) == words(TEXT)


def test_bad_files_are_refused_and_the_worker_lives(listener: ServedHost, said: bytes) -> None:
    before = listener.worker_pids()
    minute_long = (
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0data\xff\xff\xff\xff"
        + bytes(4_000_000)
    )
    for file, status, code in (
        (said[:20], 400, "invalid_audio"),
        (b"fLaC" + bytes(1000), 400, "invalid_audio"),
        (minute_long, 413, "request_too_large"),
    ):
        answer = listener.http.post("/v1/audio/transcriptions", files={"file": file})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    answer = listener.http.post("/v1/audio/transcriptions", files={"file": said}, data={"language": "xx"})
    assert answer.json()["error"]["param"] == "language"
    assert listener.http.post("/v1/audio/transcriptions", files={"file": said}).status_code == 200
    assert listener.worker_pids() == before

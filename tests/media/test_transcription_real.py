"""Transcription with real weights: Whisper base, of what the voice hibari and eSpeak NG say."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path

import pytest

from tests.support.serving import ServedHost
from tests.support.sound_weights import said_by_espeak, words_of

TEXT = "Hello there. The weather is nice today, and the train leaves at noon."
WAITING = "We have been waiting for the next train for more than an hour, and nobody knows when it will come."


@pytest.fixture(scope="module")
def said(speaker: ServedHost) -> bytes:
    body = {"input": TEXT, "response_format": "opus", "seed": 1}
    return speaker.http.post("/v1/audio/speech", json=body).content


def test_the_words_come_back(listener: ServedHost, said: bytes) -> None:
    transcriptions = listener.client().audio.transcriptions
    assert words_of(transcriptions.create(model="whisper-1", file=said, language="en").text) == words_of(TEXT)
    verbose = transcriptions.create(
        model="whisper-1", file=said, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert verbose.language == "en"
    assert words_of(" ".join(word.word for word in verbose.words or ())) == words_of(TEXT)
    with transcriptions.create(model="whisper-1", file=said, stream=True, chunking_strategy="auto") as stream:
        text = "".join(event.delta for event in stream if event.type == "transcript.text.delta")
    assert words_of(text) == words_of(TEXT)


def test_another_speaker_is_understood_but_for_a_word(listener: ServedHost, python: str, tmp_path: Path) -> None:
    said = said_by_espeak(python, WAITING, tmp_path / "said.wav")
    text = listener.client().audio.transcriptions.create(model="whisper-1", file=said, language="en").text
    heard, expected = words_of(text), words_of(WAITING)
    same = sum(block.size for block in SequenceMatcher(None, heard, expected, autojunk=False).get_matching_blocks())
    assert max(len(heard), len(expected)) - same <= 1, text


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
    answer = listener.http.post("/v1/audio/transcriptions", files={"file": said}, data={"prompt": "word " * 300})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    assert "the model takes 223" in answer.json()["error"]["message"]
    assert listener.http.post("/v1/audio/transcriptions", files={"file": said}).status_code == 200
    assert listener.worker_pids() == before

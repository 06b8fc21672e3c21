"""Speech with real weights: the voice hibari, in each format, written down by Whisper."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.raw_http import read_until, send_post
from tests.support.serving import ServedHost
from tests.support.sound_weights import joined, wave_head, words_of

TEXT = "Hello there. The weather is nice today, and the train leaves at noon."
SENTENCES = {
    "mp3": "The weather is nice today.",
    "opus": "Nobody has seen the two brothers.",
    "aac": "A small boat came into the harbor.",
    "flac": "She opened the letter and read it twice.",
    "wav": "The train leaves at noon.",
    "pcm": "Thank you for listening to all of this.",
}
"""One for each format."""


def test_each_format_says_the_words(speaker: ServedHost, listener: ServedHost, python: str, tmp_path: Path) -> None:
    client, paths = speaker.client(), []
    for audio_format, sentence in SENTENCES.items():
        answer = client.audio.speech.create(
            model="hibari",
            voice="heart",
            input=sentence,
            response_format=audio_format,  # type: ignore[arg-type]
            extra_body={"seed": 1},
        )
        path = tmp_path / f"said.{audio_format}"
        data = answer.content
        if audio_format == "pcm":
            path, data = path.with_suffix(".pcm.wav"), wave_head(len(data)) + data
        path.write_bytes(data)
        paths.append(path)
    # One file, which Whisper hears in one window.
    said = joined(python, paths, tmp_path / "said.wav")
    heard = listener.client().audio.transcriptions.create(model="whisper-1", file=("said.wav", said), language="en")
    assert words_of(heard.text) == words_of(" ".join(SENTENCES.values()))


def test_the_same_seed_gives_the_same_audio_and_another_speed_another_length(speaker: ServedHost) -> None:
    body = {"input": TEXT, "response_format": "pcm", "seed": 7}
    one, two, fast = (
        speaker.http.post("/v1/audio/speech", json={**body, **more}).content for more in ({}, {}, {"speed": 2})
    )
    assert one == two
    assert len(fast) < 0.7 * len(one)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"input": "你好"}, "nothing_to_speak"),
        ({"input": "Hello!", "voice": "alloy"}, "invalid_request"),
    ],
)
def test_what_it_cannot_speak_is_refused_and_the_worker_lives(
    fields: dict[str, str], code: str, speaker: ServedHost
) -> None:
    before = speaker.worker_pids()
    answer = speaker.http.post("/v1/audio/speech", json=fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert speaker.http.post("/v1/audio/speech", json={"input": "Hello!"}).status_code == 200
    assert speaker.worker_pids() == before


def test_a_text_without_the_end_of_a_sentence_is_spoken_in_parts(speaker: ServedHost) -> None:
    words = "and then another word " * 60
    whole = speaker.http.post("/v1/audio/speech", json={"input": words, "response_format": "pcm", "seed": 1})
    short = speaker.http.post("/v1/audio/speech", json={"input": words[:440], "response_format": "pcm", "seed": 1})
    assert len(whole.content) > 2 * len(short.content)


def test_a_client_that_leaves_frees_the_voice(speaker: ServedHost) -> None:
    with send_post(speaker.url, "/v1/audio/speech", {"input": TEXT * 200, "response_format": "pcm"}) as connection:
        read_until(connection, b"audio/pcm")
    eventually(lambda: speaker.metric("modelhost_requests_in_flight") == 0)
    assert speaker.http.post("/v1/audio/speech", json={"input": "Hello!"}).status_code == 200


def test_the_voices_are_those_on_the_machine(speaker: ServedHost) -> None:
    assert speaker.http.get("/v1/audio/voices").json()["voices"] == [{"id": "heart", "name": "heart"}]
    (card,) = speaker.http.get("/v1/models").json()["data"]
    assert (card["engine"], card["operations"]) == ("speech", ["speech"])

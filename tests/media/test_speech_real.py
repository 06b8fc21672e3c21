"""Speech with real weights: the voice hibari, in each format, read back by Whisper."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.raw_http import read_until, send_post
from tests.support.serving import ServedHost

TEXT = "Hello there. The weather is nice today, and the train leaves at noon."
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
LISTEN = """
import sys
from faster_whisper import WhisperModel

whisper = WhisperModel(sys.argv[1], compute_type="int8", cpu_threads=1, local_files_only=True)
for path in sys.argv[2:]:
    segments, _ = whisper.transcribe(path, language="en", temperature=0.0)
    print("".join(segment.text for segment in segments))
"""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def test_each_format_says_the_words(speaker: ServedHost, python: str, whisper: Path, tmp_path: Path) -> None:
    client = speaker.client()
    paths = []
    for audio_format in FORMATS:
        answer = client.audio.speech.create(
            model="hibari",
            voice="heart",
            input=TEXT,
            response_format=audio_format,  # type: ignore[arg-type]
            extra_body={"seed": 1},
        )
        path = tmp_path / f"said.{audio_format}"
        data = answer.content
        if audio_format == "pcm":
            path, data = path.with_suffix(".pcm.wav"), wave_head(len(data)) + data
        path.write_bytes(data)
        paths.append(str(path))
    listened = subprocess.run(
        [python, "-c", LISTEN, str(whisper), *paths], capture_output=True, text=True, check=True
    ).stdout
    assert [words(line) for line in listened.splitlines()] == [words(TEXT)] * len(FORMATS)


def wave_head(size: int) -> bytes:
    """Return the header that raw samples at 24 kHz lack."""
    parts = (b"RIFF", 36 + size, b"WAVEfmt ", 16, 1 | 1 << 16, 24_000, 48_000, 2 | 16 << 16, b"data", size)
    return b"".join(part if isinstance(part, bytes) else part.to_bytes(4, "little") for part in parts)


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


def test_a_client_that_leaves_frees_the_voice(speaker: ServedHost) -> None:
    with send_post(speaker.url, "/v1/audio/speech", {"input": TEXT * 200, "response_format": "pcm"}) as connection:
        read_until(connection, b"audio/pcm")
    eventually(lambda: speaker.metric("modelhost_requests_in_flight") == 0)
    assert speaker.http.post("/v1/audio/speech", json={"input": "Hello!"}).status_code == 200


def test_the_voices_are_those_on_the_machine(speaker: ServedHost) -> None:
    assert speaker.http.get("/v1/audio/voices").json()["voices"] == [{"id": "heart", "name": "heart"}]
    (card,) = speaker.http.get("/v1/models").json()["data"]
    assert (card["engine"], card["operations"]) == ("speech", ["speech"])

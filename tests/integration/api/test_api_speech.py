"""Speech at OpenAI's door, with the scripted engine, which sends words in place of audio."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelhost.errors import ModelhostError
from tests.support.eventually import eventually
from tests.support.raw_http import read_until, send_post
from tests.support.serving import ServedHost

SPEECH = "/v1/audio/speech"
StartHost = Callable[..., ServedHost]


def post(host: ServedHost, **fields: Any) -> httpx2.Response:
    return host.http.post(SPEECH, json={"model": "scripted", "input": "/echo one two three", **fields})


def code_of(answer: httpx2.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


@pytest.mark.parametrize(
    ("audio_format", "media_type"),
    [(None, "audio/mpeg"), ("opus", "audio/ogg"), ("wav", "audio/wav"), ("pcm", "audio/pcm"), ("flac", "audio/flac")],
)
def test_the_audio_has_the_type_of_its_format(
    audio_format: str | None, media_type: str, scripted_host: ServedHost
) -> None:
    answer = post(scripted_host, response_format=audio_format, voice="two", speed=1.5)
    assert (answer.status_code, answer.text) == (200, "one two three")
    assert answer.headers["content-type"] == media_type
    assert "content-length" not in answer.headers


def test_openai_s_client_gets_the_bytes(scripted_host: ServedHost) -> None:
    client = scripted_host.client()
    whole = client.audio.speech.create(model="scripted", voice="one", input="/echo one two three")
    assert whole.content == b"one two three"
    with client.audio.speech.with_streaming_response.create(
        model="scripted", voice={"id": "two"}, input="/echo one two three", response_format="pcm"
    ) as answer:
        assert b"".join(answer.iter_bytes()) == b"one two three"


def test_as_events_the_audio_is_in_base64(scripted_host: ServedHost) -> None:
    answer = post(scripted_host, stream_format="sse")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    deltas = [base64.b64decode(event["audio"]) for event in events if event["type"] == "speech.audio.delta"]
    assert b"".join(deltas) == b"one two three"
    assert events[-1] == {"type": "speech.audio.done"}


def test_the_voices_are_listed(scripted_host: ServedHost) -> None:
    expected = [{"id": "one", "name": "one"}, {"id": "two", "name": "two"}]
    for query in ("", "?model=scripted"):
        found = scripted_host.http.get(f"/v1/audio/voices{query}").json()
        assert (found["model"], found["voices"]) == ("scripted/model", expected)
    missing = scripted_host.http.get("/v1/audio/voices?model=nobody")
    assert code_of(missing)[:2] == (404, "model_not_found")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"input": "!!! ..."}, "nothing_to_speak", "input"),
        ({"input": ""}, "invalid_request", "input"),
        ({"voice": "three"}, "invalid_request", "voice"),
        ({"voice": {"name": "one"}}, "invalid_request", "voice.id"),
        ({"speed": 5}, "invalid_request", "speed"),
        ({"response_format": "midi"}, "invalid_request", "response_format"),
        ({"instructions": "Sing."}, "unsupported_parameter", "instructions"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_spoken_is_refused(
    fields: dict[str, Any], code: str, param: str, scripted_host: ServedHost
) -> None:
    status, found, at = code_of(post(scripted_host, **fields))
    assert (status, found) == (400, code)
    assert at is not None
    assert at.startswith(param.partition(".")[0])


def test_a_model_that_writes_does_not_speak(nano_host: ServedHost) -> None:
    answer = nano_host.http.post(SPEECH, json={"input": "Hello!"})
    assert code_of(answer) == (400, "unsupported_operation", None)
    assert "No model of this host can do speech" in answer.json()["error"]["message"]
    answer = nano_host.http.post(SPEECH, json={"model": "modelhost-nano", "input": "Hello!"})
    assert code_of(answer) == (400, "unsupported_operation", None)
    assert nano_host.http.get("/v1/audio/voices").status_code == 400


def test_a_client_that_leaves_stops_the_work(scripted_host: ServedHost) -> None:
    body = {"input": "/hang 3 one two three four"}
    cancelled = scripted_host.metric("modelhost_cancelled_total")
    with closing(send_post(scripted_host.url, SPEECH, body)) as connection:
        read_until(connection, b"This is the")
    eventually(lambda: scripted_host.metric("modelhost_requests_in_flight") == 0)
    eventually(lambda: scripted_host.metric("modelhost_cancelled_total") == cancelled + 1)


def test_audio_that_breaks_off_is_no_whole_answer_and_the_worker_comes_back(start_host: StartHost) -> None:
    host = start_host(engine="scripted", alias=["scripted"])
    with pytest.raises(httpx2.RemoteProtocolError):
        post(host, input="/crash 2 one two three")
    eventually(lambda: post(host).status_code == 200)
    events = post(host, input="/crash 2 one two three", stream_format="sse").text
    assert '"code":"worker_crashed"' in events
    assert "speech.audio.done" not in events


async def test_the_host_speaks_in_python_too(tmp_path: Path) -> None:
    from modelhost import Host  # noqa: PLC0415
    from modelhost.exchange.requests import SpeechRequest  # noqa: PLC0415

    async with Host(engine="scripted", data_dir=str(tmp_path)) as host:
        assert (await host.voices()).names == ("one", "two")
        async with host.open_speech(SpeechRequest(input="/echo one two", format="wav")) as spoken:
            assert [part async for part in spoken.parts] == [b"one two"]
        with pytest.raises(ModelhostError, match="neither letters nor digits"):
            host.open_speech(SpeechRequest(input="..."))

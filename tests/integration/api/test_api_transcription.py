"""Transcription at OpenAI's door, with the scripted engine: each word of its reply is a segment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.eventually import eventually
from tests.support.serving import ServedHost

PATH = "/v1/audio/transcriptions"
HEAD = b"RIFF\0\0\0\0WAVE"
SAID = HEAD + b"/echo one two three"
StartHost = Callable[..., ServedHost]


def post(host: ServedHost, file: bytes = SAID, path: str = PATH, **fields: Any) -> httpx2.Response:
    return host.http.post(path, files={"file": ("said.wav", file, "audio/wav")}, data=fields)


def test_openai_s_client_gets_each_format(scripted_host: ServedHost) -> None:
    transcriptions = scripted_host.client().audio.transcriptions
    assert transcriptions.create(model="scripted", file=SAID).text == "one two three"
    srt = transcriptions.create(model="scripted", file=SAID, response_format="srt")
    assert str(srt).startswith("1\n00:00:00,000 --> 00:00:01,000\none\n")
    verbose = transcriptions.create(
        model="scripted",
        file=("said.wav", SAID),
        language="de",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (verbose.language, verbose.duration, verbose.text) == ("de", 3.0, "one two three")
    assert [word.word for word in verbose.words or ()] == ["one", "two", "three"]
    assert [segment.start for segment in verbose.segments or ()] == [0.0, 1.0, 2.0]
    assert post(scripted_host, path="/v1/audio/translations").json()["text"] == "one two three"


def test_openai_s_client_streams(scripted_host: ServedHost) -> None:
    with scripted_host.client().audio.transcriptions.create(model="scripted", file=SAID, stream=True) as stream:
        events = list(stream)
    assert [event.type for event in events] == ["transcript.text.delta"] * 3 + ["transcript.text.done"]
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == "one two three"
    (done,) = [event for event in events if event.type == "transcript.text.done"]
    assert done.text == "one two three"


@pytest.mark.parametrize(
    ("form", "media_type", "text"),
    [
        ("text", "text/plain; charset=utf-8", "one two three\n"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\none\n\n"),
    ],
)
def test_a_text_has_its_type(form: str, media_type: str, text: str, scripted_host: ServedHost) -> None:
    answer = post(scripted_host, response_format=form)
    assert answer.headers["content-type"] == media_type
    assert answer.text.startswith(text)


@pytest.mark.parametrize("file", [b"", b"no sound", b"#EXTM3U\nfile:///etc/passwd"])
def test_a_file_without_sound_is_refused_before_any_model_is_asked(file: bytes, scripted_host: ServedHost) -> None:
    error = post(scripted_host, file).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_audio", "file")


def test_what_is_no_form_is_refused(scripted_host: ServedHost) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for content, headers in (
        (b"{}", {}),
        (b"", form),
        (b"--y", form),
        (b"--x--\r\n", {"Content-Type": "multipart/form-data"}),
    ):
        answer = scripted_host.http.post(PATH, content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    answer = scripted_host.http.post(PATH, data={"model": "scripted"}, files={"other": b"x"})
    assert answer.json()["error"]["param"] == "file"
    text = "--x\r\nContent-Disposition: form-data; name=file\r\n\r\nabc\r\n--x--\r\n"
    answer = scripted_host.http.post(PATH, content=text, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert "send it as a file" in answer.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(start_host: StartHost) -> None:
    host = start_host(engine="scripted", max_body_mb=0.01)
    answer = post(host, SAID + b" word" * 4000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_a_model_that_writes_does_not_transcribe(nano_host: ServedHost) -> None:
    for fields in ({}, {"model": "modelhost-nano"}):
        assert post(nano_host, **fields).json()["error"]["code"] == "unsupported_operation"


def test_a_client_that_leaves_stops_the_work(scripted_host: ServedHost) -> None:
    cancelled = scripted_host.metric("modelhost_cancelled_total")
    files = {"file": ("said.wav", HEAD + b"/hang 2 one two three")}
    with scripted_host.http.stream("POST", PATH, files=files, data={"stream": "true"}) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert json.loads(next(lines).removeprefix("data: "))["type"] == "transcript.text.delta"
    eventually(lambda: scripted_host.metric("modelhost_requests_in_flight") == 0)
    eventually(lambda: scripted_host.metric("modelhost_cancelled_total") == cancelled + 1)


def test_a_worker_that_dies_is_an_error_and_comes_back(start_host: StartHost) -> None:
    host = start_host(engine="scripted")
    assert post(host, HEAD + b"/crash 1 one two").json()["error"]["code"] == "worker_crashed"
    eventually(lambda: post(host).status_code == 200)

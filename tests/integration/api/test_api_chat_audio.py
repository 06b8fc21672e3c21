"""Chats whose answers are audio: ``modalities`` and ``audio``, whole and streamed, with the `openai` package."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelhost import Host
from tests.support.eventually import eventually
from tests.support.raw_http import read_until, send_post
from tests.support.registries import nano, scripted, write_registry
from tests.support.serving import ServedHost

AUDIO = {"modalities": ["text", "audio"], "audio": {"voice": "two", "format": "mp3"}}
STREAMED = {"modalities": ["text", "audio"], "audio": {"format": "pcm16"}, "stream": True}
TWO_SENTENCES = "/echo one two three four five six. seven eight"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    folder = tmp_path_factory.mktemp("spoken")
    script = folder / "script.yaml"
    script.write_text('- {match: "break the voice", reply: "/crash 2 one two three"}\n')
    writer = scripted("writer", options={"script": str(script)})
    registry = write_registry(folder / "models.yaml", writer, scripted("voice"))
    with ServedHost(models_config=registry, chat_speech_model="voice", data_dir=str(folder)) as started:
        yield started


def said(text: str, **more: Any) -> dict[str, Any]:
    """A request whose answer is ``text``, which the scripted voice answers in turn."""
    return {"model": "writer", "messages": [{"role": "user", "content": f"/echo {text}"}], **more}


def test_a_whole_answer_has_audio_in_place_of_content(host: ServedHost) -> None:
    answer = host.client().chat.completions.create(**said(TWO_SENTENCES, **AUDIO))
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == (None, "stop")
    audio = choice.message.audio
    assert audio is not None
    assert audio.id.startswith("audio_")
    assert base64.b64decode(audio.data) == b"one two three four five six. seven eight"
    assert audio.transcript == TWO_SENTENCES
    assert audio.expires_at > answer.created
    assert answer.usage is not None


def test_a_stream_has_the_transcript_and_the_audio_of_each_sentence(host: ServedHost) -> None:
    chunks = list(
        host.client().chat.completions.create(**said(TWO_SENTENCES, **STREAMED), stream_options={"include_usage": True})
    )
    deltas = [chunk.choices[0].delta.model_dump(exclude_unset=True) for chunk in chunks if chunk.choices]
    audio = [delta["audio"] for delta in deltas if "audio" in delta]
    assert len({each["id"] for each in audio}) == 1
    assert "".join(each.get("transcript", "") for each in audio) == TWO_SENTENCES
    assert base64.b64decode("".join(each["data"] for each in audio if "data" in each)[:4]) == b"one"
    assert audio[-1]["expires_at"] > 0
    assert not any(delta.get("content") for delta in deltas)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None


def test_a_conversation_goes_on_with_the_audio_of_its_answers(host: ServedHost) -> None:
    first = host.client().chat.completions.create(**said("/echo one", **AUDIO)).choices[0].message
    assert first.audio is not None
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "audio": {"id": first.audio.id}},
        {"role": "user", "content": "/messages"},
    ]
    assert host.http.post("/v1/chat/completions", json={"model": "writer", "messages": messages}).status_code == 200
    messages[1]["audio"] = {"id": "audio_none"}
    refused = host.http.post("/v1/chat/completions", json={"model": "writer", "messages": messages})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages[1].audio")


def test_an_answer_without_speakable_text_is_text(host: ServedHost) -> None:
    message = host.client().chat.completions.create(**said("...", **AUDIO)).choices[0].message
    assert (message.content, message.audio) == ("...", None)


def test_a_session_keeps_the_text(host: ServedHost) -> None:
    host.http.post("/v1/chat/completions", json=said("/echo one", **AUDIO, session_id="spoken"))
    stored = host.http.get("/v1/sessions/spoken").json()
    assert stored["messages"][-1]["content"] == "/echo one"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modalities": ["text", "audio"]}, "audio"),
        ({"audio": {"format": "mp3"}}, "audio"),
        ({"modalities": ["text"], "audio": {"format": "mp3"}}, "audio"),
        ({"modalities": ["audio"], "audio": {"format": "mp3"}}, "modalities"),
        ({"modalities": []}, "modalities"),
        ({**AUDIO, "audio": {"voice": "two"}}, "audio.format"),
        ({**AUDIO, "audio": {"voice": "three", "format": "mp3"}}, "audio.voice"),
        ({**AUDIO, "n": 2}, "n"),
        ({**AUDIO, "stream": True}, "audio.format"),
        ({**STREAMED, "audio": {"voice": {"id": "three"}, "format": "pcm16"}}, "audio.voice"),
    ],
)
def test_what_cannot_be_spoken_is_refused_before_anything_is_generated(
    fields: dict[str, Any], param: str, host: ServedHost
) -> None:
    answer = host.http.post("/v1/chat/completions", json=said("/echo one", **fields))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_errors_of_the_chat_have_their_status(host: ServedHost) -> None:
    answer = host.http.post("/v1/chat/completions", json=said("one", **STREAMED) | {"model": "none"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_a_voice_that_fails_ends_the_answer_with_its_error(host: ServedHost) -> None:
    body = {"model": "writer", "messages": [{"role": "user", "content": "break the voice"}]}
    answer = host.http.post("/v1/chat/completions", json={**body, **AUDIO})
    assert answer.json()["error"]["code"] == "worker_crashed"
    assert '"code":"worker_crashed"' in host.http.post("/v1/chat/completions", json={**body, **STREAMED}).text


def test_a_client_that_leaves_ends_both(host: ServedHost) -> None:
    body = {"model": "writer", "messages": [{"role": "user", "content": "/slow 20 /tokens 400 go"}], **STREAMED}
    with send_post(host.url, "/v1/chat/completions", body) as connection:
        read_until(connection, b"transcript")
    eventually(lambda: host.metric("modelhost_requests_in_flight") == 0)


@pytest.mark.parametrize(
    ("setting", "words"),
    [(None, "Set `chat_speech_model`"), ("none", "There is no model"), ("plain", "cannot do speech")],
)
def test_without_a_speech_model_it_is_refused(
    setting: str | None, words: str, start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    registry = write_registry(tmp_path / "models.yaml", scripted("writer"), nano("plain"))
    given = {} if setting is None else {"chat_speech_model": setting}
    host = start_host(models_config=registry, **given)
    answer = host.http.post("/v1/chat/completions", json=said("one", **AUDIO))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_operation", "modalities")
    assert words in error["message"]


async def test_it_works_in_python_too(tmp_path: Path) -> None:
    registry = write_registry(tmp_path / "models.yaml", scripted("writer"), scripted("voice"))
    async with asyncio.timeout(60), Host(models_config=registry, chat_speech_model="voice") as host:
        answer = await host.chat("/echo /echo one", **AUDIO)
        assert base64.b64decode(answer["choices"][0]["message"]["audio"]["data"]) == b"one"

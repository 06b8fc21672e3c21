"""Speech and transcription as Open WebUI sends them (backend/open_webui/routers/audio.py), byte by byte."""

from __future__ import annotations

from typing import Final

from tests.support.serving import ServedHost

WEB_UI: Final = {
    "Authorization": "Bearer sk-none",
    "X-OpenWebUI-User-Name": "Anna",
    "X-OpenWebUI-User-Id": "1",
    "X-OpenWebUI-User-Email": "anna@example.org",
    "X-OpenWebUI-User-Role": "user",
}
BOUNDARY: Final = "0f2d4b6a8c1e3a5b7d9f0f2d4b6a8c1e"


def form(file: bytes, **fields: str) -> bytes:
    """The form as `requests` writes it: fields first, and a file of no stated type."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="5f1c2c4e.wav"\r\n\r\n'.encode()
    return b"".join([*parts, head, file, f"\r\n--{BOUNDARY}--\r\n".encode()])


def test_speech_is_an_mp3_file_without_a_format_being_asked_for(scripted_host: ServedHost) -> None:
    body = {"model": "scripted", "input": "/echo one two three", "voice": "two"}
    answer = scripted_host.http.post("/v1/audio/speech", json=body, headers=WEB_UI)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
    assert answer.content == b"one two three"


def test_a_refusal_has_the_message_that_is_shown(scripted_host: ServedHost) -> None:
    body = {"model": "scripted", "input": "one", "voice": "alloy"}
    answer = scripted_host.http.post("/v1/audio/speech", json=body, headers=WEB_UI)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == 'voice: there is no "alloy"; there are one, two.'


def test_voices_have_ids_and_names(scripted_host: ServedHost) -> None:
    voices = scripted_host.http.get("/v1/audio/voices").json()["voices"]
    assert {voice["id"]: voice["name"] for voice in voices} == {"one": "one", "two": "two"}


def test_models_that_speak_have_ids_and_names(scripted_host: ServedHost, nano_host: ServedHost) -> None:
    models = scripted_host.http.get("/v1/audio/models", headers=WEB_UI).json()["models"]
    (card,) = scripted_host.http.get("/v1/models").json()["data"]
    assert models == [{"id": card["id"], "name": card["id"]}]
    assert nano_host.http.get("/v1/audio/models").json()["models"] == []


def test_a_transcript_is_json_with_the_text(scripted_host: ServedHost) -> None:
    for fields in ({"model": "scripted"}, {"model": "scripted", "language": "en"}):
        answer = scripted_host.http.post(
            "/v1/audio/transcriptions",
            content=form(b"RIFF....WAVE/echo one two three", **fields),
            headers={**WEB_UI, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        )
        assert answer.status_code == 200
        assert answer.json()["text"] == "one two three"

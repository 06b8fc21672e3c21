"""A chat answered as audio, and the tools of the MCP server, with the voice hibari and Whisper base."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator

import mcp_types as types
import pytest
from mcp import Client

from tests.support.registries import scripted, write_registry
from tests.support.serving import ServedHost
from tests.support.sound_weights import wave_head, words_of

SAID = "The train leaves at noon, and nobody is late. We have been waiting for it since the morning."


@pytest.fixture(scope="module")
def host(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with a model that writes what it is told, and the voice."""
    folder = tmp_path_factory.mktemp("chat")
    voice = {"name": "hibari", "engine": "speech", "python": python}
    registry = write_registry(folder / "models.yaml", scripted("writer"), voice)
    with ServedHost(models_config=registry, chat_speech_model="hibari", data_dir=str(folder)) as started:
        yield started


def heard(listener: ServedHost, wav: bytes) -> list[str]:
    transcriptions = listener.client().audio.transcriptions
    return words_of(transcriptions.create(model="whisper-1", file=("said.wav", wav), language="en").text)


def test_a_streamed_answer_is_heard_sentence_by_sentence(host: ServedHost, listener: ServedHost) -> None:
    stream = host.client().chat.completions.create(
        model="writer",
        messages=[{"role": "user", "content": f"/echo {SAID}"}],
        modalities=["text", "audio"],
        audio={"voice": "heart", "format": "pcm16"},
        stream=True,
    )
    pieces = [chunk.choices[0].delta.model_dump().get("audio") or {} for chunk in stream if chunk.choices]
    assert "".join(piece.get("transcript") or "" for piece in pieces) == SAID
    parts = [base64.b64decode(piece["data"]) for piece in pieces if piece.get("data")]
    assert len(parts) > 1
    audio = b"".join(parts)
    assert heard(listener, wave_head(len(audio)) + audio) == words_of(SAID)


def test_a_whole_answer_as_wav_says_how_long_it_is(host: ServedHost) -> None:
    message = (
        host.client()
        .chat.completions.create(
            model="writer",
            messages=[{"role": "user", "content": f"/echo {SAID}"}],
            modalities=["text", "audio"],
            audio={"voice": "heart", "format": "wav"},
        )
        .choices[0]
        .message
    )
    assert message.audio is not None
    data = base64.b64decode(message.audio.data)
    with wave.open(io.BytesIO(data)) as opened:
        assert 2 * opened.getnframes() == len(data) - data.index(b"data") - len(b"data\0\0\0\0")


async def test_the_tools_of_the_mcp_server_understand_each_other(host: ServedHost, listener: ServedHost) -> None:
    async with Client(f"{host.url}/mcp/llm") as client:
        spoken = await client.call_tool("speak", {"input": SAID, "model": "hibari", "response_format": "opus"})
    audio = spoken.content[0]
    assert isinstance(audio, types.AudioContent)
    assert audio.mime_type == "audio/ogg"
    async with Client(f"{listener.url}/mcp/llm") as client:
        result = await client.call_tool("transcribe", {"file": audio.data, "language": "en"})
    assert result.structured_content is not None
    assert words_of(result.structured_content["text"]) == words_of(SAID)

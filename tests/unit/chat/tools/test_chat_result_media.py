"""Sounds that tools return: models that hear get them, the others get words about them."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any, cast

import mcp_types as types
import pytest

from modelhost.chat.images import UNHEARD_TEXT, without_refused_media
from modelhost.chat.notes import ON_NOTE, Notes
from modelhost.chat.tools.result_media import Modalities, has_media, with_media
from modelhost.engines.launch import Ready
from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import Message, TextPart, messages_of
from modelhost.exchange.requests import ChatRequest
from modelhost.tools.content import sounds_of, text_of
from modelhost.tools.outcome import ToolImage, ToolOutcome, ToolSound
from modelhost.workers.worker import Worker
from tests.support.loop_world import Model, Tool, Tools, called, chunks_of, loop_of, said, turn
from tests.support.loop_world import text_of as answer_text


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


WAV = ToolSound(media_type="audio/x-wav", data=in_base64(b"RIFF....WAVE" + bytes(60)))
OPUS = ToolSound(media_type="audio/ogg", data=in_base64(b"OggS" + bytes(60)))
PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x08\x00\x00\x00\x08\x08\x02\x00\x00\x00"
PNG = ToolImage(media_type="image/png", data=in_base64(PNG_HEAD))
PART = {"type": "input_audio", "input_audio": {"data": WAV.data, "format": "wav"}}
HEARS = Modalities(audio=True)


def says(text: str, *sounds: ToolSound) -> Tool:
    async def tool(_: Any, __: Any) -> ToolOutcome:
        return ToolOutcome(name="", text=text, sounds=sounds)

    return tool


@pytest.mark.parametrize("hears", [True, False])
async def test_the_next_turn_has_sounds_for_a_model_that_hears_and_the_transcript_tells_of_them(hears: bool) -> None:
    model = Model(turn(called("listen")), turn(said("A dog barks.")))
    loop = loop_of(model, Tools(listen=says("[audio/x-wav, 72 bytes]", WAV)), hears_audio=hears)
    await chunks_of(loop)
    words = {"type": "text", "text": "[audio/x-wav, 72 bytes]"}
    _, second = (body["messages"] for body in model.bodies)
    assert second[2]["content"] == ([words, PART] if hears else "[audio/x-wav, 72 bytes]")
    (result,) = [message.content for message in loop.transcript if message.role == "tool"]
    assert result == "[audio/x-wav, 72 bytes]"


async def test_a_sound_that_the_model_refuses_leaves_the_words_about_it() -> None:
    model = Model(turn(called("listen")), [InvalidRequest("no audio")], turn(said("I hear nothing.")))
    loop = loop_of(model, Tools(listen=says("[audio/x-wav, 72 bytes]", WAV)), hears_audio=True)
    assert answer_text(await chunks_of(loop)) == "I hear nothing."


@pytest.mark.parametrize(
    "sound", [OPUS, ToolSound(media_type="audio/wav", data="§"), ToolSound(media_type="", data="")]
)
def test_sounds_of_other_formats_are_in_the_text_only(sound: ToolSound) -> None:
    outcome = ToolOutcome(name="t", text="[audio]", sounds=(sound,))
    (_, result) = with_media((Message(role="assistant"), Message(role="tool")), (outcome,), HEARS)
    assert result.content == "[audio]"


def test_images_and_sounds_go_to_a_model_that_takes_both() -> None:
    outcome = ToolOutcome(name="t", text="both", images=(PNG,), sounds=(WAV,))
    messages = (Message(role="assistant"), Message(role="tool"))
    (_, result) = with_media(messages, (outcome,), Modalities(images=True, audio=True))
    assert isinstance(result.content, tuple)
    assert result.content[0] == TextPart("both")
    assert [part.kind for part in result.media] == ["image_url", "input_audio"]
    assert not has_media((outcome,), Modalities())
    assert has_media((outcome,), HEARS)


def test_sounds_of_a_result_are_its_audio_and_its_blobs_of_audio() -> None:
    blob = types.BlobResourceContents(uri="memory:a", blob=WAV.data, mime_type="audio/x-wav")
    blocks = [
        types.AudioContent(type="audio", data=OPUS.data, mime_type="audio/ogg"),
        types.ImageContent(type="image", data=PNG.data, mime_type="image/png"),
        types.EmbeddedResource(type="resource", resource=blob),
        types.TextContent(type="text", text="words"),
    ]
    assert sounds_of(blocks) == (OPUS, WAV)
    assert text_of(blocks).splitlines()[0] == "[audio/ogg, 64 bytes]"


@pytest.mark.parametrize(
    ("role", "hears", "described"), [("tool", False, True), ("tool", True, False), ("user", False, False)]
)
def test_sounds_in_results_of_the_client_are_described_to_a_model_that_does_not_hear(
    role: str, hears: bool, described: bool
) -> None:
    noted: list[str] = []
    worker = cast("Worker", SimpleNamespace(model="m", ready=Ready(url="", hears_audio=hears)))
    request = ChatRequest(messages=messages_of([{"role": role, "content": [{"type": "text", "text": "Here:"}, PART]}]))
    token = ON_NOTE.set(noted.append)
    try:
        shown = without_refused_media(worker, request, Notes("m"))
    finally:
        ON_NOTE.reset(token)
    assert (shown is request) != described
    assert noted == (["ignored=audio"] if described else [])
    if described:
        assert shown.messages[0].text == f"Here:{UNHEARD_TEXT}"

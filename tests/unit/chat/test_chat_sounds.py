"""Sound in requests: read once, however many turns a request has, and counted together."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import pytest

from modelhost.chat.media import sounds
from modelhost.chat.media.sounds import MOST_MINUTES, SoundCheck
from modelhost.errors import InvalidAudio, RequestTooLarge, UnsupportedOperation
from modelhost.exchange.media_kinds import AUDIO
from modelhost.exchange.messages import MediaPart, Message
from tests.support.media_files import wav


def worker(*, hears: bool | None = True) -> Any:
    return SimpleNamespace(model="m", ready=SimpleNamespace(hears_audio=hears))


def said(data: bytes) -> Message:
    part = MediaPart(AUDIO, {AUDIO: {"data": base64.b64encode(data).decode(), "format": "wav"}})
    return Message(role="user", content=(part,))


async def test_each_sound_is_read_once_and_a_new_one_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = sounds.audio_seconds

    def noted(data: bytes, param: str, *, limit: float) -> float:
        read.append(param)
        return original(data, param, limit=limit)

    monkeypatch.setattr(sounds, "audio_seconds", noted)
    check, first = SoundCheck(), said(wav(1))
    await check.check(worker(), [first])
    await check.check(worker(), [first])
    assert len(read) == 1
    await check.check(worker(), [first, said(wav(1))])
    assert len(read) == 2


async def test_sounds_that_were_read_before_count_towards_the_limit() -> None:
    check, first = SoundCheck(), said(wav(MOST_MINUTES * 60 - 1, rate=100))
    await check.check(worker(), [first])
    with pytest.raises(RequestTooLarge):
        await check.check(worker(), [first, said(wav(2))])


async def test_each_turn_asks_the_model_that_has_it() -> None:
    check, damaged = SoundCheck(), said(b"RIFF\0\0\0\0WAVE")
    await check.check(worker(hears=None), [damaged])
    with pytest.raises(UnsupportedOperation):
        await check.check(worker(hears=False), [damaged])
    with pytest.raises(InvalidAudio):
        await check.check(worker(), [damaged])

"""The voices of hibari-tts, with a package of that name which makes no sound."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modelhost.engines.speech import voices
from modelhost.engines.speech.voices import Hibari


class Voice:
    def __init__(self, voice: str, threads: int) -> None:
        self.voice = voice

    def stream(self, text: str, _speed: float, _seed: int | None) -> Any:
        yield f"{self.voice}: {text}"


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two voices, of which the second is the default."""
    hibari, listed = ModuleType("hibari"), ModuleType("hibari.voices")
    for name in ("heart", "lark"):
        (tmp_path / name).touch()
    vars(hibari).update(SAMPLE_RATE=24_000, Hibari=Voice)
    vars(listed).update(
        DEFAULT="lark", VOICES=("heart", "lark"), voice_path=lambda name, download_missing: str(tmp_path / name)
    )
    monkeypatch.setitem(sys.modules, "hibari", hibari)
    monkeypatch.setitem(sys.modules, "hibari.voices", listed)
    monkeypatch.setattr(voices, "version", lambda _: "1")


def spoken(speaker: Hibari, voice: str) -> list[Any]:
    taken: list[Any] = []

    def take(samples: Any) -> bool:
        taken.append(samples)
        return True

    speaker.speak("one", voice=voice, speed=1.0, seed=None, take=take)
    return taken


def test_the_default_comes_first() -> None:
    speaker = Hibari(names=None, threads=1)
    assert speaker.voices == ("lark", "heart")
    assert spoken(speaker, "heart") == ["heart: one"]


def test_voices_have_the_names_of_the_option() -> None:
    speaker = Hibari(names={"alloy": 0, "nova": 1, "echo": 0}, threads=1)
    assert speaker.voices == ("alloy", "nova", "echo")
    assert [spoken(speaker, name) for name in speaker.voices] == [["lark: one"], ["heart: one"], ["lark: one"]]


def test_a_number_without_a_voice_is_refused() -> None:
    with pytest.raises(ValueError, match="alloy: there are 2, from 0 to 1"):
        Hibari(names={"alloy": 2}, threads=1)

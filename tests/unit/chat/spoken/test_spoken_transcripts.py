"""Answers that name the audio of earlier ones."""

from __future__ import annotations

import pytest

from modelhost.chat.spoken.transcripts import KEPT_SECONDS, MOST_CHARS, Transcripts, has_audio
from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import message_json, messages_of

HI = {"role": "user", "content": "Hi"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def answer(audio_id: str, **more: object) -> dict[str, object]:
    return {"role": "assistant", "content": None, "audio": {"id": audio_id}, **more}


def test_audio_becomes_its_transcript() -> None:
    transcripts = Transcripts(Clock())
    assert transcripts.add("a", "Hello.") == 1000 + KEPT_SECONDS
    messages = messages_of([HI, answer("a"), HI])
    assert has_audio(messages)
    filled = transcripts.filled_in(messages)
    assert [message_json(message) for message in filled] == [HI, {"role": "assistant", "content": "Hello."}, HI]
    assert not has_audio(filled)


def test_a_content_that_is_there_counts() -> None:
    (message,) = Transcripts(Clock()).filled_in(messages_of([answer("none", content="Hello.")]))
    assert message_json(message) == {"role": "assistant", "content": "Hello."}


@pytest.mark.parametrize("audio", [{"id": "none"}, {}, "a", {"id": 3}])
def test_unknown_audio_is_refused(audio: object) -> None:
    transcripts = Transcripts(Clock())
    transcripts.add("a", "Hello.")
    with pytest.raises(InvalidRequest, match="no such audio") as caught:
        transcripts.filled_in(messages_of([HI, {"role": "assistant", "audio": audio}]))
    assert caught.value.param == "messages[1].audio"


def test_transcripts_expire() -> None:
    clock = Clock()
    transcripts = Transcripts(clock)
    transcripts.add("a", "Hello.")
    clock.now += KEPT_SECONDS + 1
    with pytest.raises(InvalidRequest):
        transcripts.filled_in(messages_of([answer("a")]))


def test_the_oldest_make_room() -> None:
    transcripts = Transcripts(Clock())
    for name in ("a", "b", "c"):
        transcripts.add(name, "x" * (MOST_CHARS // 2))
    transcripts.filled_in(messages_of([answer("b"), answer("c")]))
    with pytest.raises(InvalidRequest):
        transcripts.filled_in(messages_of([answer("a")]))

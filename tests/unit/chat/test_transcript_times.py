"""Times of transcripts."""

from __future__ import annotations

from modelhost.chat.transcription import within


def test_no_time_is_beyond_the_sound_or_finer_than_a_millisecond() -> None:
    words = [{"word": "one", "start": 1.23456, "end": 2.0000000001}, {"word": "two", "start": 5.0, "end": 5.5}]
    found = within({"id": 0, "start": 0.0, "end": 5.0, "text": "one two", "words": words}, 4.608)
    assert (found["start"], found["end"], found["text"]) == (0.0, 4.608, "one two")
    assert [(word["start"], word["end"]) for word in found["words"]] == [(1.235, 2.0), (4.608, 4.608)]
    assert within({"id": 0, "start": 0.0, "end": 1.0, "words": []}, 4.608)["words"] == []

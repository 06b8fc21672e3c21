"""WAV files that were sent while they were made, with their lengths once they are whole."""

from __future__ import annotations

import io
import wave

import pytest

from modelhost.exchange.audio_files import with_lengths

UNKNOWN = b"\xff" * 4


def wav_of(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(samples)
    return file.getvalue()


def streamed(whole: bytes, before_data: bytes = b"") -> bytes:
    """Return ``whole``, whose header is of 44 bytes, without lengths and with a chunk before the samples."""
    return whole[:4] + UNKNOWN + whole[8:36] + before_data + b"data" + UNKNOWN + whole[44:]


@pytest.mark.parametrize("before_data", [b"", b"LIST\x03\0\0\0abc\0"])
def test_the_lengths_are_those_of_the_file(before_data: bytes) -> None:
    audio = with_lengths(streamed(wav_of(b"\1\0" * 100), before_data))
    assert int.from_bytes(audio[4:8], "little") == len(audio) - 8
    with wave.open(io.BytesIO(audio)) as read:
        assert (read.getnframes(), read.readframes(100)) == (100, b"\1\0" * 100)


@pytest.mark.parametrize(
    "audio", [b"", b"RIFF", b"ID3abc", b"one two", b"RIFF\xff\xff\xff\xffWAVE", wav_of(b"\1\0" * 3)]
)
def test_other_files_stay_as_they_are(audio: bytes) -> None:
    made = with_lengths(audio)
    assert (made[:4], made[8:]) == (audio[:4], audio[8:])
    assert made == audio or audio[4:8] == UNKNOWN

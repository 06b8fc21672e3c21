"""What headers say of the length of sound, and that files without all of it are refused."""

from __future__ import annotations

import io
import struct
import wave

import pytest

from modelhost.engines.media.decoding import decode
from modelhost.engines.media.stated_lengths import stated_seconds
from modelhost.engines.worker.asgi import ErrorResponse

RATE = 8_000
HEADER_BYTES = 44
SIZE = slice(40, 44)


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(RATE)
        opened.writeframes(bytes(2 * int(seconds * RATE)))
    return file.getvalue()


def flac(samples: int) -> bytes:
    return b"fLaC" + bytes(14) + struct.pack(">Q", RATE << 44 | samples) + bytes(16)


def with_size(data: bytes, size: int) -> bytes:
    return data[: SIZE.start] + struct.pack("<I", size) + data[SIZE.stop :]


@pytest.mark.parametrize(
    ("data", "container", "seconds"),
    [
        (wav(2), "wav", 2.0),
        (wav(2)[:1_000], "wav", 2.0),
        (with_size(wav(2), 0xFFFFFFFF), "wav", None),
        (with_size(wav(2), 0x7FFFFFFF - 36), "wav", None),
        (wav(2)[:30], "wav", None),
        (wav(2)[:20] + b"\x02" + wav(2)[21:], "wav", None),
        (flac(3 * RATE), "flac", 3.0),
        (flac(0), "flac", None),
        (flac(3 * RATE)[:20], "flac", None),
        (b"ID3" + flac(3 * RATE), "flac", None),
        (wav(2), "mp3", None),
    ],
)
def test_only_a_header_that_knows_the_length_says_it(data: bytes, container: str, seconds: float | None) -> None:
    assert stated_seconds(data, container) == seconds


def test_a_file_that_is_cut_off_is_refused_with_what_there_is_of_it() -> None:
    whole = wav(4)
    assert decode(whole, container="wav", max_minutes=1).size == 4 * 16_000
    with pytest.raises(ErrorResponse) as refused:
        decode(whole[: HEADER_BYTES + 2 * RATE], container="wav", max_minutes=1)
    error = refused.value.body["error"]
    assert (error["type"], error["param"]) == ("invalid_audio", "file")
    assert "1.0 s of its 4.0 s can be read" in error["message"]


def test_a_stream_that_was_stored_is_read_as_far_as_it_goes() -> None:
    stream = with_size(wav(4), 0xFFFFFFFF)[: HEADER_BYTES + 2 * RATE]
    assert decode(stream, container="wav", max_minutes=1).size == pytest.approx(16_000, abs=100)

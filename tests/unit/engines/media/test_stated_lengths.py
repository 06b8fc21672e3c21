"""What headers say of the length of sound, and that files without all of it are refused."""

from __future__ import annotations

import io
import re
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from modelhost.engines.media.decoding import decode
from modelhost.engines.media.ogg_pages import is_whole
from modelhost.engines.media.stated_lengths import stated_seconds
from modelhost.engines.worker.asgi import ErrorResponse
from tests.support.sound_files import noise, written

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
    bits = 15 << 36  # of a sample, less one
    return b"fLaC\x80\0\0\x22" + struct.pack(">HH6xQ", 4096, 4096, RATE << 44 | bits | samples) + bytes(16)


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
        (b"ID3\4" + bytes(6) + flac(3 * RATE), "flac", 3.0),
        (b"ID3" + flac(3 * RATE), "flac", None),
        (wav(2), "mp3", None),
    ],
)
def test_only_a_header_that_knows_the_length_says_it(data: bytes, container: str, seconds: float | None) -> None:
    assert stated_seconds(data, container) == seconds


def test_a_file_that_is_cut_off_is_refused_with_what_there_is_of_it() -> None:
    whole = wav(4)
    assert decode(whole, max_minutes=1).size == 4 * 16_000
    with pytest.raises(ErrorResponse) as refused:
        decode(whole[: HEADER_BYTES + 2 * RATE], max_minutes=1)
    error = refused.value.body["error"]
    assert (error["type"], error["param"]) == ("invalid_audio", "file")
    assert "1.0 s of its 4.0 s can be read" in error["message"]


SECONDS = 4
KINDS = ["mp3", "ipod", "mp4", "webm", "ogg", "flac", "adts"]
"""By FFmpeg's names of what is written."""


@pytest.fixture(scope="module")
def hiss() -> NDArray[np.int16]:
    return noise(SECONDS)


def file_of(samples: NDArray[np.int16], kind: str, path: Path) -> bytes:
    return written(samples, kind, path, movflags="faststart") if kind == "mp4" else written(samples, kind, path)


def problem_of(data: bytes, kind: str) -> str:
    """Return why a file is refused; empty if it is read."""
    try:
        decode(data, max_minutes=1)
    except ErrorResponse as refused:
        error = refused.body["error"]
        return f"{error['type']}: {error['message']}"
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read_whole(kind: str, hiss: NDArray[np.int16], tmp_path: Path) -> None:
    data = file_of(hiss, kind, tmp_path / "sound")
    for given in (data, data + b"TAG" + bytes(125)):
        found = decode(given, max_minutes=1)
        assert found.size / 16_000 == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "adts"])
def test_a_file_that_is_cut_off_is_told_from_a_whole_one(kind: str, hiss: NDArray[np.int16], tmp_path: Path) -> None:
    data = file_of(hiss, kind, tmp_path / "sound")
    for share in (0.3, 0.6, 0.9):
        assert problem_of(data[: int(share * len(data))], kind).startswith("invalid_audio: file: it is damaged")


def test_a_stream_says_no_length_and_is_read_as_far_as_it_goes(hiss: NDArray[np.int16], tmp_path: Path) -> None:
    data = written(hiss, "adts", tmp_path / "sound")
    assert problem_of(data[: len(data) // 2], "adts") == ""


@pytest.mark.parametrize("kind", ["mp3", "mp4", "ogg", "flac"])
def test_a_file_without_a_part_in_its_middle_is_refused(kind: str, hiss: NDArray[np.int16], tmp_path: Path) -> None:
    data = file_of(hiss, kind, tmp_path / "sound")
    middle, some = len(data) // 2, len(data) // 10
    assert "damaged" in problem_of(data[:middle] + bytes(some) + data[middle + some :], kind)


def test_an_ogg_file_is_whole_if_all_of_its_pages_are(hiss: NDArray[np.int16], tmp_path: Path) -> None:
    data = written(hiss, "ogg", tmp_path / "sound")
    pages = [found.start() for found in re.finditer(b"OggS", data)]
    assert len(pages) > 3
    assert is_whole(data)
    assert is_whole(data[: pages[-1]])  # a stream that was stored
    assert not is_whole(data[: pages[-1] + 20])
    assert not is_whole(data[: pages[2]] + data[pages[3] :])
    for at in range(pages[1] + 30, len(data), 501):
        assert not is_whole(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert is_whole(data + b"TAG")
    assert not is_whole(data[: pages[-1]] + b"TAG")


def test_a_file_that_says_it_is_too_long_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    long = file_of(np.zeros(65 * 24_000, np.int16), "mp4", tmp_path / "sound")
    # what follows the header is not there, so that nothing can be decoded
    for data in (wav(70)[:100], flac(70 * RATE), long[: long.index(b"mdat") + 8]):
        with pytest.raises(ErrorResponse) as refused:
            decode(data, max_minutes=1)
        assert refused.value.body["error"]["type"] == "audio_too_long"
        assert "longer than 1 minute;" in refused.value.body["error"]["message"]


def test_sound_that_is_too_long_is_refused_whatever_its_header_says(hiss: NDArray[np.int16], tmp_path: Path) -> None:
    long = np.tile(hiss, 17)
    stream, file = written(long, "adts", tmp_path / "a"), bytearray(written(long, "mp4", tmp_path / "b"))
    rate = file.index(b"mdhd") + 16
    file[rate : rate + 4] = (1_000 * 24_000).to_bytes(4, "big")
    for data in (stream, bytes(file)):
        with pytest.raises(ErrorResponse) as refused:
            decode(data, max_minutes=1)
        assert refused.value.status == 413


def test_a_stream_that_was_stored_is_read_as_far_as_it_goes() -> None:
    stream = with_size(wav(4), 0xFFFFFFFF)[: HEADER_BYTES + 2 * RATE]
    assert decode(stream, max_minutes=1).size == pytest.approx(16_000, abs=100)

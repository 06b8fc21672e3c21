"""Files of sound are known by their contents, and what is missing in their middle is noticed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from modelhost.engines.media.decoding import SAMPLE_RATE, decode
from modelhost.engines.worker.asgi import ErrorResponse
from tests.support.sound_files import RATE, noise, tag, with_pauses, written

SECONDS = 4
STREAMS = ["mp3", "adts", "flac", "webm", "ogg"]
"""Kinds that programs write without knowing how long the sound will be."""


def heard(data: bytes) -> float:
    """Return how many seconds of a file are read."""
    return decode(data, max_minutes=1).size / SAMPLE_RATE


def problem_of(data: bytes) -> str:
    with pytest.raises(ErrorResponse) as refused:
        decode(data, max_minutes=1)
    error = refused.value.body["error"]
    assert (refused.value.status, error["type"], error["param"]) == (400, "invalid_audio", "file")
    return str(error["message"])


@pytest.mark.parametrize("kind", [*STREAMS, "wav", "w64", "aiff", "caf", "ipod", "mp4", "mov"])
def test_a_file_is_known_by_its_contents(kind: str, tmp_path: Path) -> None:
    assert heard(written(noise(SECONDS), kind, tmp_path / "sound")) == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_that_was_stored_is_read(kind: str) -> None:
    assert heard(written(noise(SECONDS), kind)) == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("kind", ["mp3", "adts", "flac"])
@pytest.mark.parametrize("size", [640, 200_000])
def test_a_tag_before_the_sound_is_passed_over(kind: str, size: int) -> None:
    assert heard(tag(size) + written(noise(SECONDS), kind)) == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("kind", ["mp3", "adts"])
def test_a_recording_that_begins_within_a_frame_is_read(kind: str) -> None:
    data = written(noise(SECONDS), kind)
    assert heard(data[len(data) // 4 + 1 :]) == pytest.approx(0.75 * SECONDS, abs=0.2)


@pytest.mark.parametrize("kind", ["mp3", "adts"])
@pytest.mark.parametrize("rest", [b"\r\n", bytes(5_000), b"TAG" + bytes(125)], ids=["line", "zeros", "tag"])
def test_what_follows_the_last_frame_is_no_damage(kind: str, rest: bytes) -> None:
    assert heard(written(noise(SECONDS), kind) + rest) == pytest.approx(SECONDS, abs=0.1)


def test_a_last_frame_that_is_cut_off_is_no_damage() -> None:
    assert heard(written(noise(SECONDS), "adts")[:-50]) == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("kind", ["mp3", "adts"])
def test_files_that_were_joined_are_read_with_the_tags_between_them(kind: str) -> None:
    data = written(noise(SECONDS), kind)
    assert heard(data + tag(640) + data + tag(200_000) + data) == pytest.approx(3 * SECONDS, abs=0.2)


def test_many_files_that_were_joined_are_read() -> None:
    assert heard(20 * written(noise(1), "mp3")) == pytest.approx(20 * 1.05, abs=1)


@pytest.mark.parametrize("seconds", [0.5, 0.08])
@pytest.mark.parametrize("kind", ["webm", "mov"])
def test_sound_that_pauses_has_its_times(kind: str, seconds: float, tmp_path: Path) -> None:
    data = written(noise(SECONDS), "mp4", tmp_path / "sound") if kind == "mov" else written(noise(SECONDS), kind)
    paused = with_pauses(data, kind, tmp_path / "paused", seconds=seconds)
    assert heard(paused) == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.parametrize("seconds", [0.2, 0.3, 0.5, 0.9])
def test_a_short_vorbis_is_as_long_as_it_is(seconds: float, tmp_path: Path) -> None:
    data = written(noise(seconds), "oga", tmp_path / "sound", layout="stereo")
    assert heard(data) == pytest.approx(seconds, abs=0.05)


def test_files_with_other_rates_that_were_joined_are_read() -> None:
    joined = written(noise(SECONDS), "mp3") + written(noise(SECONDS, 48_000), "mp3", rate=48_000)
    assert heard(joined) == pytest.approx(2 * SECONDS, abs=0.2)


def test_ogg_files_that_were_joined_may_call_their_streams_alike() -> None:
    data = written(noise(SECONDS), "ogg", serial_offset="7")
    assert heard(data + data) == pytest.approx(2 * SECONDS, abs=0.1)


def test_ogg_files_whose_parts_cannot_be_read_as_one_are_refused_with_what_to_do() -> None:
    other = written(noise(SECONDS), "ogg", layout="stereo")
    assert "convert it" in problem_of(written(noise(SECONDS), "ogg") + other)


@pytest.mark.parametrize("kind", ["webm", "matroska"])
def test_silence_that_is_not_stored_is_no_damage(kind: str, tmp_path: Path) -> None:
    data = with_pauses(written(noise(SECONDS), "webm"), kind, tmp_path / "paused")
    assert heard(data) == pytest.approx(SECONDS, abs=0.05)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("content", ["zeros", "noise"])
def test_what_is_overwritten_in_the_middle_of_a_stream_is_noticed(kind: str, content: str) -> None:
    data = written(noise(SECONDS), kind)
    middle, size = len(data) // 2, len(data) // 10
    other = bytes(size) if content == "zeros" else np.random.default_rng(1).bytes(size)
    assert "damaged" in problem_of(data[:middle] + other + data[middle + size :])


def test_a_byte_less_in_a_webm_takes_a_second_and_is_noticed(tmp_path: Path) -> None:
    data = written(noise(SECONDS), "webm", tmp_path / "sound", cluster_time_limit="1000")
    assert "damaged" in problem_of(data[: len(data) // 2] + data[len(data) // 2 + 1 :])


def test_samples_that_fill_their_places_in_part_are_read_as_if_they_filled_them() -> None:
    sound = noise(1)
    samples = sound.astype("<i4") << 16
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 4 * RATE, 4, 32, 22, 24, 4)
    guid = b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    data = b"fmt " + struct.pack("<I", 40) + form + guid + b"data" + struct.pack("<I", 4 * RATE) + samples.tobytes()
    found = decode(b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WAVE" + data, max_minutes=1)
    assert np.abs(found - decode(written(sound, "wav"), max_minutes=1).astype(np.int32)).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\n",
        b"%PDF-1.7\n" + bytes(1_000),
        b"Only words. " * 100,
        b"\0",
        b"RIFX" + bytes(100),
    ],
    ids=["playlist", "concat", "sdp", "pdf", "text", "byte", "big endian"],
)
def test_what_is_no_sound_is_refused_with_the_formats_that_are_read(data: bytes) -> None:
    assert "WAV, AIFF, CAF, MP3" in problem_of(data)


def test_sound_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert "its format is unknown" in problem_of(written(noise(SECONDS), "mpegts", tmp_path / "sound"))


def test_what_is_too_short_for_a_word_is_refused() -> None:
    assert heard(written(noise(0.2), "flac")) == pytest.approx(0.2, abs=0.01)
    assert problem_of(written(noise(0.05), "flac")) == "file: it is shorter than 0.1 s."

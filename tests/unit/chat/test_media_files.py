"""What headers tell of images and sound, before anything is decoded."""

from __future__ import annotations

import base64
import struct

import pytest

from modelhost.chat.media.audio_lengths import seconds_of
from modelhost.chat.media.base64_files import Base64File
from modelhost.chat.media.image_files import size_of
from tests.support.media_files import png, wav

RIFF = b"RIFF\0\0\0\0WEBP"
SEGMENT = b"\xff\xe1" + struct.pack(">H", 60_000) + bytes(59_998)
MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz
MP3_SECONDS = 1152 / 44_100


def jpeg(*before: bytes, marker: int = 0xC0) -> bytes:
    frame = bytes([0xFF, marker]) + struct.pack(">HBHH", 17, 8, 20, 30)
    return b"\xff\xd8" + b"".join(before) + frame + bytes(10)


def file(data: bytes) -> Base64File:
    return Base64File(base64.b64encode(data).decode())


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(30, 20), (30, 20)),
        (b"GIF89a" + struct.pack("<HH", 30, 20), (30, 20)),
        (b"BM" + bytes(16) + struct.pack("<ii", 30, -20), (30, 20)),
        (RIFF + b"VP8X" + bytes(8) + struct.pack("<HBHB", 29, 0, 19, 0), (30, 20)),
        (RIFF + b"VP8X" + bytes(8) + struct.pack("<HBHB", 0xFFFF, 1, 19, 0), (131_072, 20)),
        (RIFF + b"VP8L" + bytes(5) + struct.pack("<I", 29 | 19 << 14), (30, 20)),
        (RIFF + b"VP8 " + bytes(10) + struct.pack("<HH", 30, 20), (30, 20)),
        (jpeg(), (30, 20)),
        (jpeg(SEGMENT, SEGMENT, b"\xff\xff", b"\xd0", marker=0xC2), (30, 20)),
        (jpeg(marker=0xC4), None),
        (b"\xff\xd8\xff\xe0" + bytes(20), None),
        (b"\xff\xd8\xff\xc0\0\x11\x08\0", None),
        (png(30, 20)[:20], None),
        (b"GIF89a" + bytes(20), None),
        (b"BM", None),
        (b"<svg/>", None),
        (b"", None),
    ],
)
def test_the_size_of_an_image_is_in_its_header(data: bytes, size: tuple[int, int] | None) -> None:
    assert size_of(file(data)) == size


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10_000])
def test_a_file_is_in_base64_as_a_whole(count: int) -> None:
    file(bytes(range(256)) * count).check()


@pytest.mark.parametrize("junk", ["@", "====", "\0", "-_", "é", "\n", " "])
def test_a_character_outside_of_base64_is_found_wherever_it_is(junk: str) -> None:
    text = base64.b64encode(bytes(9_000)).decode()
    for at in (0, 6_000, 11_999):
        with pytest.raises(ValueError, match="alphabet of base64"):
            Base64File(text[:at] + junk + text[at:]).check()


def test_a_file_in_base64_is_read_in_parts() -> None:
    data = bytes(range(256))
    for start, count in ((0, 0), (0, 1), (1, 3), (2, 7), (250, 20), (300, 5)):
        assert file(data).read(start, count) == data[start : start + count]
    with pytest.raises(ValueError, match="base64"):
        Base64File("AAAA!!!!").read(3, 3)
    assert Base64File("AAAA!!!!").read(0, 3) == bytes(3)


def flac(samples: int, rate: int = 16_000) -> bytes:
    return b"fLaC\0\0\0\x22" + bytes(10) + struct.pack(">Q", rate << 44 | 15 << 36 | samples) + bytes(16)


@pytest.mark.parametrize(
    ("container", "data", "seconds"),
    [
        ("wav", wav(1.5), 1.5),
        ("wav", wav(1)[:40] + b"\xff\xff\xff\xff" + wav(1)[44:], 1.0),
        ("wav", wav(1)[:12] + b"LIST\3\0\0\0abc\0" + wav(1)[12:], 1.0),
        ("wav", wav(0), None),
        ("wav", wav(1)[:30], None),
        ("wav", b"RIFF\0\0\0\0WAVE" + bytes(100_000), None),
        ("flac", flac(24_000), 1.5),
        ("flac", flac(0), None),
        ("flac", flac(24_000)[:20], None),
        ("mp3", 3 * MP3_FRAME, 3 * MP3_SECONDS),
        ("mp3", b"ID3\4\0\0\0\0\0\5" + b"\xff\xfb\x90\0\0" + MP3_FRAME, MP3_SECONDS),
        ("mp3", MP3_FRAME + b"\xff\xff" + MP3_FRAME, 2 * MP3_SECONDS),
        ("mp3", b"\xff\xf3\x14\xc0" + bytes(20), 0.072),  # MPEG 2, 8 kbit/s, 24 kHz: 24 bytes a frame
        ("mp3", MP3_FRAME[:100], None),
        ("mp3", b"\xff\xfb\xf0\0" + bytes(400), None),
    ],
)
def test_the_length_of_sound_is_in_its_headers(container: str, data: bytes, seconds: float | None) -> None:
    found = seconds_of(data, container, limit=60.0)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=0.05))


def test_the_frames_of_a_long_file_are_counted_up_to_the_limit() -> None:
    found = seconds_of(1000 * MP3_FRAME, "mp3", limit=5.0)
    assert found == pytest.approx(5.0, abs=MP3_SECONDS)

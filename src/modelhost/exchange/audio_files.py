"""What an audio file is, by its first bytes. What has none of them that sound can have reaches no model."""

from __future__ import annotations

import re
from typing import Final

from modelhost.errors import InvalidAudio
from modelhost.exchange.mp3_frames import after_tag

CONTAINERS: Final[tuple[tuple[str, re.Pattern[bytes]], ...]] = (
    ("wav", re.compile(rb"(RIFF|RF64|BW64)....WAVE", re.DOTALL)),
    ("mp3", re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa\xfb]")),
    ("aac", re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")),
    ("ogg", re.compile(rb"OggS")),
    ("flac", re.compile(rb"fLaC")),
    ("matroska", re.compile(rb"\x1a\x45\xdf\xa3")),
    ("aiff", re.compile(rb"FORM....AIF[FC]", re.DOTALL)),
    ("caf", re.compile(rb"caff")),
    ("w64", re.compile(rb"riff\x2e\x91\xcf\x11")),
    ("amr", re.compile(rb"#!AMR")),
    ("mov", re.compile(rb"....(ftyp|moov|mdat|wide|free|skip)", re.DOTALL)),
)
"""FFmpeg's names of containers, with their signatures."""
FORMATS: Final = "WAV, AIFF, CAF, MP3, AAC, AMR, Ogg (Opus, Vorbis), FLAC, WebM, Matroska, M4A and MP4"
UNKNOWN_FORMAT: Final = f"its format is unknown; {FORMATS} are read"
SYNC: Final = re.compile(rb"\xff[\xe2-\xe7\xf0-\xfd]|APETAGEX")
"""What a frame of MP3 or AAC begins with, or a tag before one."""
SEARCHED_BYTES: Final = 65_536
"""In these, a recording that begins within a frame has another one."""


def container_of(data: bytes, param: str = "file") -> str:
    """Return the container of an audio file, which is the field ``param``.

    Raises:
        InvalidAudio: it is empty, or of an unknown format.
    """
    if not data:
        raise InvalidAudio(f"{param}: it is empty.", param=param)
    # What follows a tag decides; what is unknown behind one is most likely an MP3, which decoders find in its middle.
    behind = after_tag(data)
    found = next((name for name, signature in CONTAINERS if signature.match(data, behind)), "mp3" if behind else None)
    if found is None:
        raise InvalidAudio(f"{param}: {UNKNOWN_FORMAT}.", param=param)
    return found


def check_may_be_sound(data: bytes, param: str = "file") -> None:
    """Check what is seen at once; a decoder finds out the rest.

    Raises:
        InvalidAudio: it is empty, or without anything of a format that is read, such as a text or a playlist.
    """
    if not SYNC.search(data, 0, SEARCHED_BYTES):
        container_of(data, param)


UNKNOWN: Final = b"\xff" * 4
"""A length in the header of a WAV file that was sent while it was made."""
HEAD_BYTES: Final = 8
FIRST_CHUNK: Final = 12


def with_lengths(audio: bytes) -> bytes:
    """Return ``audio``, a whole file, with its lengths in the header if it is a WAV file that does not say them."""
    if audio[:4] != b"RIFF" or audio[8:FIRST_CHUNK] != b"WAVE" or len(audio) - HEAD_BYTES >= 2**32:
        return audio
    at = FIRST_CHUNK
    while at + HEAD_BYTES <= len(audio) and audio[at : at + 4] != b"data":
        size = int.from_bytes(audio[at + 4 : at + HEAD_BYTES], "little")
        at += HEAD_BYTES + size + size % 2
    whole = bytearray(audio)
    for place in (4, at + 4):
        if whole[place : place + 4] == UNKNOWN:
            whole[place : place + 4] = (len(audio) - place - 4).to_bytes(4, "little")
    return bytes(whole)

"""What an audio file is, by its first bytes: nothing else is given to a decoder."""

from __future__ import annotations

import re
from typing import Final

from modelhost.errors import InvalidAudio

CONTAINERS: Final[tuple[tuple[str, re.Pattern[bytes]], ...]] = (
    ("wav", re.compile(rb"(RIFF|RF64)....WAVE", re.DOTALL)),
    ("mp3", re.compile(rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa\xfb]")),
    ("aac", re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")),
    ("ogg", re.compile(rb"OggS")),
    ("flac", re.compile(rb"fLaC")),
    ("matroska", re.compile(rb"\x1a\x45\xdf\xa3")),
    ("mov", re.compile(rb"....ftyp", re.DOTALL)),
)
"""FFmpeg's names of containers, with their signatures."""
FORMATS: Final = "WAV, MP3, AAC, Ogg (Opus, Vorbis), FLAC, WebM, Matroska, M4A and MP4"


def container_of(data: bytes, param: str = "file") -> str:
    """Return the container of an audio file, which is the field ``param``.

    Raises:
        InvalidAudio: it is empty, or of an unknown format.
    """
    if not data:
        raise InvalidAudio(f"{param}: it is empty.", param=param)
    found = next((name for name, signature in CONTAINERS if signature.match(data)), None)
    if found is None:
        raise InvalidAudio(f"{param}: its format is unknown; {FORMATS} are read.", param=param)
    return found

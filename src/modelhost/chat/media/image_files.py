"""What an image is, and its size in pixels, by its header: nothing is decoded to find out.

PNG: https://www.w3.org/TR/png-3/; JPEG: ITU-T T.81, annex B; GIF: https://www.w3.org/Graphics/GIF/spec-gif89a.txt;
BMP: BITMAPINFOHEADER of Windows; WebP: https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Final

from modelhost.chat.media.base64_files import Base64File

FORMATS: Final = "PNG, JPEG, GIF, BMP, WebP"
TYPES: Final = ("image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp")
IMAGE_SIGNATURE: Final = re.compile(rb"(\x89PNG\r\n\x1a\n)|(\xff\xd8\xff)|(GIF8)|(BM)|(RIFF....WEBP)", re.DOTALL)
"""The first bytes of these formats. llama.cpp takes anything else for a video, and starts a program to read it."""
SIGNATURE_BYTES: Final = 12
MARKER: Final = 0xFF
FRAMES_OF_JPEG: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of segments with the size of the image (SOF)."""
WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
MOST_SEGMENTS: Final = 1_000
"""Of a JPEG before its size; colour profiles take some dozens."""

Size = tuple[int, int]
"""Width and height."""


def image_type(content: bytes) -> str | None:
    """Return the media type of an image by its first bytes; ``None`` if its format is unknown."""
    found = IMAGE_SIGNATURE.match(content)
    return None if found is None else TYPES[(found.lastindex or 1) - 1]


def size_of(file: Base64File) -> Size | None:
    """Return the size of an image of one of ``TYPES``; ``None`` if its header is damaged.

    Raises:
        ValueError: it is not base64.
    """
    kind = image_type(file.read(0, SIGNATURE_BYTES))
    try:
        size = READERS[kind](file) if kind is not None else None
    except struct.error:  # it ends in the middle of its header
        return None
    return size if size is not None and min(size) > 0 else None


def _of_png(file: Base64File) -> Size:
    width, height = struct.unpack(">II", file.read(16, 8))
    return width, height


def _of_gif(file: Base64File) -> Size:
    width, height = struct.unpack("<HH", file.read(6, 4))
    return width, height


def _of_bmp(file: Base64File) -> Size:
    width, height = struct.unpack("<ii", file.read(18, 8))
    return width, abs(height)  # below zero: the top row comes first


def _of_webp(file: Base64File) -> Size | None:
    kind = file.read(12, 4)
    if kind == b"VP8X":
        low = struct.unpack("<HBHB", file.read(24, 6))
        return (low[0] | low[1] << 16) + 1, (low[2] | low[3] << 16) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", file.read(21, 4))
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", file.read(26, 4))
    return width & 0x3FFF, height & 0x3FFF


def _of_jpeg(file: Base64File) -> Size | None:
    at = 2
    for _ in range(MOST_SEGMENTS):
        prefix, marker = struct.unpack("BB", file.read(at, 2))
        if prefix != MARKER:
            return None
        if marker == MARKER:  # a fill byte
            at += 1
        elif marker in WITHOUT_LENGTH:
            at += 2
        elif marker in FRAMES_OF_JPEG:
            height, width = struct.unpack(">HH", file.read(at + 5, 4))
            return width, height
        else:
            at += 2 + int.from_bytes(file.read(at + 2, 2), "big")
    return None


READERS: Final[Mapping[str, Callable[[Base64File], Size | None]]] = dict(
    zip(TYPES, (_of_png, _of_jpeg, _of_gif, _of_bmp, _of_webp), strict=True)
)

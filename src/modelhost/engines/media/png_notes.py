"""Texts and colour profiles in PNG (https://www.w3.org/TR/png-3/#11Chunks), which no model is shown."""

from __future__ import annotations

from typing import Final

PNG: Final = b"\x89PNG\r\n\x1a\n"
LENGTH_BYTES: Final = 4
AROUND_CHUNK: Final = 12
"""Bytes of a chunk of PNG besides its contents: their length, its kind, the check sum."""
UNREAD_CHUNKS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
TURNING_TEXTS: Final = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""Texts that may say which side is up."""


def without_notes(data: bytes) -> bytes:
    """Return ``data`` without the texts and the colour profile of a PNG, which are not used; other files as they are.

    Pillow takes a file for damaged if one of them is large, such as the workflow that a program noted in its image.
    What cannot be read as chunks is left as it is.
    """
    if not data.startswith(PNG):
        return data
    kept, start, at = [], 0, len(PNG)
    while at + AROUND_CHUNK <= len(data):
        end = at + AROUND_CHUNK + int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        contents = at + AROUND_CHUNK - LENGTH_BYTES
        kind = data[at + LENGTH_BYTES : contents]
        if kind in UNREAD_CHUNKS and end <= len(data) and not data.startswith(TURNING_TEXTS, contents):
            kept.append(data[start:at])
            start = end
        at = end
    return b"".join([*kept, data[start:]]) if kept else data

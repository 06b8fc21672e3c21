"""Images that are sent, as Pillow reads them."""

from __future__ import annotations

import io
import zlib

import pytest
from PIL import Image

from modelhost.engines.diffusers.pictures import read_picture
from modelhost.engines.media.png_notes import without_notes
from modelhost.engines.worker.asgi import ErrorResponse

SIZE = (4, 2)
WORKFLOW = b"x" * 3_000_000
"""More than Pillow takes in a chunk."""
HEADER_END = 33
TURNED = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'


def png() -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", SIZE, (10, 20, 30)).save(sink, "PNG")
    return sink.getvalue()


def chunk(kind: bytes, contents: bytes) -> bytes:
    return len(contents).to_bytes(4, "big") + kind + contents + zlib.crc32(kind + contents).to_bytes(4, "big")


def noted(kind: bytes, contents: bytes, *, at: int = HEADER_END) -> bytes:
    """An image with a chunk of ``kind``; behind its header unless ``at`` says where."""
    file = png()
    return file[:at] + chunk(kind, contents) + file[at:]


def read(data: bytes) -> Image.Image:
    return read_picture(data, param="image", max_pixels=64)


@pytest.mark.parametrize(
    ("kind", "contents"),
    [
        (b"zTXt", b"workflow\0\0" + zlib.compress(WORKFLOW)),
        (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(WORKFLOW)),
        (b"tEXt", b"workflow\0" + WORKFLOW * 30),
        (b"iCCP", b"profile\0\0" + zlib.compress(WORKFLOW)),
    ],
)
def test_a_large_note_in_an_image_does_not_make_it_damaged(kind: bytes, contents: bytes) -> None:
    for at in (HEADER_END, len(png()) - len(chunk(b"IEND", b""))):
        picture = read(noted(kind, contents, at=at))
        assert (picture.size, picture.getpixel((0, 0))) == (SIZE, (10, 20, 30))


def test_a_note_that_says_which_side_is_up_is_read() -> None:
    assert read(noted(b"iTXt", TURNED)).size == SIZE[::-1]


def test_what_is_cut_off_in_a_note_is_damaged() -> None:
    whole = noted(b"tEXt", b"a\0b" * 100)
    for cut in (HEADER_END + 2, HEADER_END + 6, HEADER_END + 50, len(whole) - 30):
        with pytest.raises(ErrorResponse) as refused:
            read(whole[:cut])
        assert refused.value.body["error"]["type"] == "invalid_image"


def test_other_files_are_left_as_they_are() -> None:
    jpeg = b"\xff\xd8\xff" + noted(b"tEXt", b"a\0b")
    assert without_notes(jpeg) is jpeg
    plain = png()
    assert without_notes(plain) is plain

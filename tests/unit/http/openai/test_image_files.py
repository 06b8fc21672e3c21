"""Images on disk: signatures, the hour that they are kept, the budget."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from modelhost.errors import DiskFull, NotFound
from modelhost.http.openai.images.files import SECONDS, ImageFiles


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def read(files: ImageFiles, url: str) -> tuple[bytes, str]:
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return files.read(parts.path.rpartition("/")[2], query["expires"], query["signature"])


def stored(folder: Path) -> list[Path]:
    return sorted((folder / "images").iterdir())


def test_an_image_is_there_for_an_hour(tmp_path: Path) -> None:
    clock = Clock()
    files = ImageFiles(tmp_path, 100, clock)
    (url,) = files.add([b"image"], "jpeg")
    clock.now += SECONDS - 1
    assert read(files, url) == (b"image", "image/jpeg")
    assert read(ImageFiles(tmp_path, 100, clock), url) == (b"image", "image/jpeg")
    clock.now += 1
    with pytest.raises(NotFound):
        read(files, url)


@pytest.mark.parametrize(
    ("name", "expires", "signature"),
    [("../images.key", "1", "0"), ("a.png", "never", "0"), ("é.png", "1", "é"), ("", "", "")],
)
def test_nothing_else_is_read(name: str, expires: str, signature: str, tmp_path: Path) -> None:
    files = ImageFiles(tmp_path, 100, Clock())
    files.add([b"image"], "png")
    with pytest.raises(NotFound):
        files.read(name, expires, signature)


def test_the_oldest_make_room_and_the_expired_go(tmp_path: Path) -> None:
    clock = Clock()
    files = ImageFiles(tmp_path, 10, clock)
    urls = []
    for age in (3, 2, 1):
        before = set(stored(tmp_path)) if urls else set()
        urls += files.add([b"1234"], "png")
        (added,) = set(stored(tmp_path)) - before
        os.utime(added, (clock.now - age, clock.now - age))
    assert len(stored(tmp_path)) == 2
    with pytest.raises(NotFound):
        read(files, urls[0])
    assert read(files, urls[2])[0] == b"1234"
    clock.now += SECONDS + 1
    files.add([b"1"], "png")
    assert [file.read_bytes() for file in stored(tmp_path)] == [b"1"]


@pytest.mark.parametrize("images", [[b"12345678901"], [b"1234", b"5678", b"9012"]])
def test_an_answer_beyond_the_budget_is_refused_and_makes_no_room(images: list[bytes], tmp_path: Path) -> None:
    files = ImageFiles(tmp_path, 10, Clock())
    (before,) = files.add([b"image"], "png")
    with pytest.raises(DiskFull, match="--image-files-mb"):
        files.add(images, "png")
    assert read(files, before)[0] == b"image"


def test_all_images_of_an_answer_are_there(tmp_path: Path) -> None:
    files = ImageFiles(tmp_path, 10, Clock())
    files.add([b"123456"], "png")
    urls = files.add([b"12345", b"67890"], "png")
    assert [read(files, url)[0] for url in urls] == [b"12345", b"67890"]
